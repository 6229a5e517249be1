# A card image of the card's packages: mmdebstrap, mksquashfs, mkfs, dd. Takes root/ and card.img; payload/ holds what is
# unpacked, not installed.
#
#   MKSQUASHFS MKFS_FAT MCOPY MKE2FS SFDISK
usual_root root --customize-hook='for package in payload/*.deb; do dpkg-deb --extract "$package" "$1"; done'
"$MKSQUASHFS" root root.squashfs -quiet -no-progress -comp zstd -Xcompression-level 3 -b 256K
truncate -s 96M boot.img
"$MKFS_FAT" -F 32 boot.img
gzip -n -c root/boot/vmlinuz-* >vmlinuz
"$MCOPY" -i boot.img vmlinuz ::
truncate -s 256M data.img
"$MKE2FS" -q -t ext4 data.img
truncate -s 1280M card.img
printf '%s\n' '4MiB,96MiB,c' '196MiB,400MiB' '1024MiB,256MiB' | "$SFDISK" --quiet card.img
dd if=boot.img of=card.img bs=4M seek=1 conv=notrunc,sparse status=none
dd if=root.squashfs of=card.img bs=4M seek=49 conv=notrunc,sparse status=none
dd if=data.img of=card.img bs=4M seek=256 conv=notrunc,sparse status=none
sha256sum card.img
