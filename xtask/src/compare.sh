# A root of the very packages that the card's root is made of, made the usual way. Runs as root of a user namespace of
# its own, where binfmt_misc can be mounted without touching the machine's (Linux 6.7), and of process and network
# namespaces, so that /proc and /sys can be mounted too. Nothing is fetched.
#
#   FOLDER       takes root.tar; holds repository/ with the packages, and modules, the list of those on the card
#   ARCHITECTURE of the user land, and ARCHITECTURES with the kernel's
#   EMULATOR     what runs programs of that architecture, and MAGIC and MASK to know them by
#   PACKAGES     all of them
#   PROVIDED     what stands in for the packages that the builder takes the place of
set -eu
read -r go
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' ":pilotlight-peer:M::$MAGIC:$MASK:$EMULATOR:F" >/proc/sys/fs/binfmt_misc/register
cd "$FOLDER"
mkdir -p stand-in/DEBIAN
cat >stand-in/DEBIAN/control <<END
Package: pilotlight-stand-in
Version: 1
Architecture: all
Multi-Arch: foreign
Provides: $PROVIDED
Maintainer: Pilotlight <root@localhost>
Description: stands in for what the image builder does itself
END
dpkg-deb --root-owner-group --build stand-in repository/stand-in.deb >/dev/null
{
    cat stand-in/DEBIAN/control
    echo "Filename: ./stand-in.deb"
    echo "Size: $(stat -c %s repository/stand-in.deb)"
    echo "SHA256: $(sha256sum repository/stand-in.deb | cut -d ' ' -f 1)"
    echo
} >>repository/Packages
# depmod's indexes, over the modules that the card has: those of all modules would say nothing about ours.
cat >indexes <<'END'
set -eu
release=$(ls "$1/usr/lib/modules")
all="$1/usr/lib/modules/$release"
few="$1/tmp/few/lib/modules/$release"
mkdir -p "$few"
tar -C "$all" -c -T modules modules.builtin modules.builtin.modinfo modules.order | tar -C "$few" -x
chroot "$1" depmod -b /tmp/few "$release"
rm "$few/modules.builtin" "$few/modules.builtin.modinfo" "$few/modules.order"
mv "$few"/modules.* "$all/"
rm -r "$1/tmp/few"
END
# The packages are those of the lock, whose digests are checked: there is no signature to check here.
mmdebstrap --quiet --mode=root --variant=essential --architectures="$ARCHITECTURES" \
    --include="$PACKAGES,pilotlight-stand-in" --customize-hook='sh ./indexes "$1"' \
    '' root.tar "deb [trusted=yes] copy://$FOLDER/repository ./"
