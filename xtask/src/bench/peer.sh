# A stock Debian root with dnsmasq and nginx, made the usual way. Runs as root of a user namespace of its own, where
# binfmt_misc can be mounted without touching the machine's (Linux 6.7).
#
#   FOLDER       takes root/, vmlinuz, initrd.img and disk.img
#   ARCHITECTURE of its packages
#   EMULATOR     what runs programs of that architecture, and MAGIC and MASK to know them by
#   MIRROR SUITE KEYS PACKAGES KERNEL MKE2FS
set -eu
read -r go
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' ":pilotlight-peer:M::$MAGIC:$MASK:$EMULATOR:F" >/proc/sys/fs/binfmt_misc/register
mmdebstrap --quiet --mode=root --variant=minbase --architectures="$ARCHITECTURE" --keyring="$KEYS" \
    --include="$PACKAGES,dnsmasq,initramfs-tools,linux-base,nginx" \
    --customize-hook="upload $KERNEL /kernel.deb" \
    --customize-hook='test "$ARCHITECTURE" = arm64 || chroot "$1" dpkg --add-architecture arm64' \
    --customize-hook='chroot "$1" dpkg --install /kernel.deb && rm "$1/kernel.deb"' \
    "$SUITE" "$FOLDER/root" "deb $MIRROR $SUITE main"
cd "$FOLDER/root"
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
rm -f ../disk.img
"$MKE2FS" -q -t ext4 -d . ../disk.img 2G
cd ..
rm -rf root
