# Makes ready for mmdebstrap: foreign programs run, and the folder `repository` is an apt repository. Runs as root of a
# user namespace of its own, where binfmt_misc can be mounted without touching the machine's (Linux 6.7), and of process
# and network namespaces, so that /proc and /sys can be mounted too. Nothing is fetched.
#
#   FOLDER        where it works; holds repository/ with the packages
#   ARCHITECTURES of the user land and of the kernel
#   EMULATOR      what runs programs of the user land, and MAGIC and MASK to know them by
#   PACKAGES      all of them
#   PROVIDED      what the stand-in provides: what the builder takes the place of
#
# The packages are those of the lock, whose digests are checked: their repository needs no signature.
set -eu
read -r go
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' ":pilotlight-usual:M::$MAGIC:$MASK:$EMULATOR:F" >/proc/sys/fs/binfmt_misc/register
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
# Where it stands in for nothing: apt takes no empty field.
sed -i '/^Provides: $/d' stand-in/DEBIAN/control
dpkg-deb --root-owner-group --build stand-in repository/stand-in.deb >/dev/null
{
    cat stand-in/DEBIAN/control
    echo "Filename: ./stand-in.deb"
    echo "Size: $(stat -c %s repository/stand-in.deb)"
    echo "SHA256: $(sha256sum repository/stand-in.deb | cut -d ' ' -f 1)"
    echo
} >>repository/Packages
# The root with these packages, as a folder or as an archive; further arguments are mmdebstrap's.
usual_root() {
    into=$1
    shift
    mmdebstrap --quiet --mode=root --variant=essential --architectures="$ARCHITECTURES" \
        --include="$PACKAGES,pilotlight-stand-in" "$@" \
        '' "$into" "deb [trusted=yes] copy://$FOLDER/repository ./"
}
