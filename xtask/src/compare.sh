# A root of the card's packages as root.tar. FOLDER also holds modules, the list of those on the card.
#
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
usual_root root.tar --customize-hook='sh ./indexes "$1"'
