# A stock Debian root with dnsmasq and nginx, made the usual way of the card's packages and theirs: vmlinuz, initrd.img and
# disk.img.
#
#   MKE2FS
#
# In memory: on ext4 the places in a folder have 64 bits, which emulated 32-bit programs cannot be told, and what gathers
# the initrd's modules leaves folders out without a word.
mkdir root
mount -t tmpfs -o mode=755 tmpfs root
usual_root root
cd root
chroot . sh -c 'lsinitramfs /boot/initrd.img-*' | grep -q /virtio_blk.ko
echo peer >etc/hostname
echo '/dev/vda / ext4 defaults 0 1' >etc/fstab
cat >etc/systemd/network/eth0.network <<'END'
[Match]
Name=eth0
[Network]
Address=10.77.0.1/24
END
# It does not wait for an echo before it offers an address: that would be held against it.
cat >etc/dnsmasq.d/boot.conf <<'END'
interface=eth0
bind-dynamic
dhcp-authoritative
no-ping
dhcp-range=10.77.0.100,10.77.0.199,1h
dhcp-boot=undionly.kpxe
enable-tftp
tftp-root=/srv
END
chroot . systemctl enable systemd-networkd.service >/dev/null 2>&1
cp -L boot/vmlinuz-* ../vmlinuz
cp -L boot/initrd.img-* ../initrd.img
"$MKE2FS" -q -t ext4 -d . ../disk.img 2G
