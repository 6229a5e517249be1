#!/bin/sh
# Mounts the disks that the lab names for this node, each known by its serial number. One is formatted only when nobody knows
# of anything on it and nothing but zeros is at its ends, or when it was being formatted here and that was cut short; one of
# ours whose content may be lost, also when it cannot be mended. Any other is left as it is. To be run as root, once at each
# start.
set -u
# (what is mounted, and who is told)

# So much at either end is looked at, in bytes.
ends=16777216

# What follows returns 1 with the reason in $why. The whole disk with this serial number; some show up late.
find_disk() {
    for _ in $(seq 30); do
        # Names of devices have no blanks. shellcheck disable=SC2046
        set -- $(lsblk -dnpro NAME,SERIAL | while read -r name its; do [ "$its" != "$serial" ] || echo "$name"; done)
        [ $# -eq 0 ] || break
        sleep 1
    done
    case $# in
        0) why="no disk of this machine has this serial number" ;;
        1) disk=$1 && return ;;
        *) why="$# disks have this serial number: $*" ;;
    esac
    return 1
}

measure() {
    size=$(blockdev --getsize64 "$disk") || { why="it cannot be read"; return 1; }
    [ "$size" -ge 67108864 ] || { why="it has less than 64 MiB"; return 1; }
    # The file system ends a mebibyte before the disk does. There stands, while it is made, that it is.
    mib=$((size / 1048576 - 1))
    # No other disk and no other purpose has this UUID, of version 8 (RFC 9562 section 5.8).
    uuid=$(printf '%s' "pilotlight $purpose $serial" | sha256sum |
        sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-8\3-8\4-\5/')
    mark="pilotlight is formatting this disk for $purpose: $uuid"
}

# So many bytes from there on.
bytes() {
    dd if="$disk" bs=64K iflag=skip_bytes,count_bytes skip="$1" count="$2" status=none
}

is_zero() {
    [ "$(bytes "$1" "$2" | wc -c)" -eq "$2" ] && [ "$(bytes "$1" "$2" | tr -d '\0' | wc -c)" -eq 0 ]
}

is_begun() {
    [ "$(bytes $((mib * 1048576)) 512 | tr -d '\0')" = "$mark" ]
}

is_ours() {
    [ "$(blkid -p -o value -s TYPE "$disk")" = ext4 ] && [ "$(blkid -p -o value -s UUID "$disk")" = "$uuid" ]
}

is_blank() {
    known=$(wipefs -n "$disk") || { why="it cannot be read"; return 1; }
    [ -z "$known" ] || { why="there is something on it ($(blkid -p -o value -s TYPE -s PTTYPE "$disk" | xargs))"; return 1; }
    is_zero 0 $ends && is_zero $((size - ends)) $ends || {
        why="it is not blank: its first and last 16 MiB are not all zeros"
        return 1
    }
}

format() {
    printf '%s' "$mark" | dd of="$disk" bs=512 seek=$((mib * 2048)) conv=notrunc,sync,fsync status=none &&
        mkfs.ext4 -q -F -b 4096 -U "$uuid" -L "node-$purpose" "$disk" "${mib}M" >&2 && sync "$disk" &&
        dd if=/dev/zero of="$disk" bs=512 seek=$((mib * 2048)) count=1 conv=notrunc,fsync status=none || {
        why="it could not be formatted"
        return 1
    }
    did=formatted
}

attach() {
    mkdir -p "$place" && mount -t ext4 -o noatime "$disk" "$place"
}

# By its journal as a rule. One that is taken for clean and cannot be mounted is looked through as a whole.
mend() {
    for how in -p -fp; do
        code=0
        e2fsck $how "$disk" >&2 || code=$?
        # As fsck(8) has it: up to 3 all is well now.
        [ $code -ge 4 ] || ! attach || { did=mounted; return; }
    done
    [ "$purpose" = scratch ] || { why="its file system is damaged, and e2fsck -p does not mend it"; return 1; }
    format
}

prepare() {
    if is_begun; then format; elif is_ours; then mend; else is_blank && format; fi
}

# What the node's programs find where they look for it is a folder of the disk, as it was there.
lend() {
    new=$place/$1 to=/var/lib/$1
    ! mountpoint -q "$to" || return 0
    mkdir -p "$to" || return
    if [ ! -d "$new" ]; then
        mkdir "$new" && chown --reference="$to" "$new" && chmod --reference="$to" "$new" || return
    elif [ "$purpose" = state ] && [ "$(stat -c %u:%g "$new")" != "$(stat -c %u:%g "$to")" ]; then
        # Another version of the system may number its accounts otherwise.
        chown -R --reference="$to" "$new" || return
    fi
    mount --bind "$new" "$to" || return
    # Where the kernel goes by labels, a new file system has none.
    ! command -v restorecon > /dev/null || restorecon -R "$to"
}

use() {
    place=/mnt/$purpose
    if mountpoint -q "$place"; then
        did=mounted
    else
        find_disk && measure && prepare || return
        mountpoint -q "$place" || attach || { why="it could not be mounted"; return 1; }
    fi
    for name in $folders; do
        lend "$name" || { why="/var/lib/$name could not be put there"; return 1; }
    done
}

tell() {
    curl -fsS --max-time 20 --retry 3 --retry-connrefused --data-urlencode "purpose=$purpose" \
        --data-urlencode "serial=$serial" --data-urlencode "$1=$2" "$own/disk" > /dev/null
}

code_of_all=0
for one in $disks; do
    purpose=${one%%=*} serial=${one#*=}
    case $purpose in
        state) folders="etcd" ;;
        *) folders="containerd containers docker kubelet" ;;
    esac
    if use; then
        echo "The disk $serial for $purpose is $did."
        tell did "$did"
    else
        echo "The disk $serial for $purpose is not used: $why." >&2
        tell refused "$why"
        code_of_all=3
    fi
done
exit $code_of_all
