# A card image of the same packages, made the usual way: mmdebstrap, mksquashfs, mkfs, dd. Runs as root of a user
# namespace of its own, where binfmt_misc can be mounted without touching the machine's (Linux 6.7).
#
#   FOLDER       takes root/ and card.img; FOLDER/debs holds the packages, so that none need be fetched
#   ARCHITECTURE of its packages
#   EMULATOR     what runs programs of that architecture, and MAGIC and MASK to know them by
#   MIRROR SUITE KEYS PACKAGES KERNEL
#   MKSQUASHFS MKFS_FAT MCOPY MKE2FS SFDISK
set -eu
read -r go
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' ":pilotlight-usual:M::$MAGIC:$MASK:$EMULATOR:F" >/proc/sys/fs/binfmt_misc/register
cd "$FOLDER"
mmdebstrap --quiet --mode=root --variant=custom --architectures="$ARCHITECTURE" --keyring="$KEYS" \
    --skip=download/empty --skip=essential/unlink \
    --include="$PACKAGES,initramfs-tools,linux-base" \
    --setup-hook='mkdir -p "$1/var/cache/apt/archives" && cp debs/*.deb "$1/var/cache/apt/archives/"' \
    --customize-hook="upload $KERNEL /kernel.deb" \
    --customize-hook='test "$ARCHITECTURE" = arm64 || chroot "$1" dpkg --add-architecture arm64' \
    --customize-hook='chroot "$1" dpkg --install /kernel.deb && rm "$1/kernel.deb"' \
    "$SUITE" root "deb $MIRROR $SUITE main"
"$MKSQUASHFS" root root.squashfs -quiet -no-progress -comp zstd -Xcompression-level 3 -b 256K
truncate -s 96M boot.img
"$MKFS_FAT" -F 32 boot.img
gzip -n -c root/boot/vmlinuz-* >vmlinuz
"$MCOPY" -i boot.img vmlinuz root/boot/initrd.img-* ::
truncate -s 256M data.img
"$MKE2FS" -q -t ext4 data.img
truncate -s 1280M card.img
printf '%s\n' '4MiB,96MiB,c' '196MiB,400MiB' '1024MiB,256MiB' | "$SFDISK" --quiet card.img
dd if=boot.img of=card.img bs=4M seek=1 conv=notrunc,sparse status=none
dd if=root.squashfs of=card.img bs=4M seek=49 conv=notrunc,sparse status=none
dd if=data.img of=card.img bs=4M seek=256 conv=notrunc,sparse status=none
sha256sum card.img
