#!/bin/sh
# Fetches this node's certificates, for a key that is made here and stays here. To be run as root at each start; it sees to it
# itself that it is run again every week, with `week` behind the folder, and then renews those that have little time left.
set -eu
umask 077
# (what is asked, and where)
folder=${1:-/etc/kubernetes/pki}
when=${2:-start}
# Half of the time for which they are given, in seconds: the Pi renews none that has more left.
half=15768000

fetch() {
    curl -fsS --retry 5 --retry-delay 2 --retry-connrefused "$@"
}

# The token never stands on a command line. It is for this key alone, which may ask for another as long as the node is armed.
token() {
    fetch --data-urlencode "request@$folder/request" -o "$folder/token" "$own/token"
}

# What is wanted for $purpose, to be shown with it what "$@" says.
ask() {
    fetch --data-urlencode "request@$folder/request" --data-urlencode "purpose=$purpose" "$@" -o "$folder/new" "$own/certificate"
}

# Whether the file $1 is the key that signs service accounts' tokens. Its public half is known already.
signs() {
    [ "$(openssl pkey -in "$1" -pubout 2> /dev/null)" = "$(cat "$folder/service-account.pub")" ]
}

# Whether what the node has for $purpose is good, or could be renewed.
settled() {
    [ "$purpose" != service-account ] || { signs "$folder/service-account.key"; return; }
    openssl verify -partial_chain -CAfile "$folder/trusted" "$folder/$purpose.crt" > /dev/null 2>&1 || return
    if openssl x509 -in "$folder/$purpose.crt" -noout -checkend "$half" > /dev/null; then return; fi
    # The key shows whose it is: no token is wanted for this.
    ask --data-urlencode "certificate@$folder/$purpose.crt" && mv "$folder/new" "$folder/$purpose.crt"
}

mkdir -p "$folder"
rm -f "$folder/token" "$folder/trusted"
for name in kubernetes.crt etcd.crt front-proxy.crt; do
    fetch -o "$folder/new" "$pi/pki/$name"
    cat "$folder/new" >> "$folder/trusted"
    mv "$folder/new" "$folder/ca-$name"
done
fetch -o "$folder/new" "$pi/pki/service-account.pub"
mv "$folder/new" "$folder/service-account.pub"

if [ ! -s "$folder/node.key" ]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/new"
    mv "$folder/new" "$folder/node.key"
fi
openssl req -new -key "$folder/node.key" -subj /CN=node -out "$folder/request"

# At a start all of it anew, if the node is armed: the lab may say something else by now. Otherwise what it has will do.
[ "$when" != start ] || token || when=unarmed
for purpose in $purposes; do
    if [ ! -s "$folder/token" ]; then
        if settled; then continue; fi
        [ "$when" != unarmed ] || exit 1
        token
    fi
    ask --data-urlencode "token@$folder/token"
    if [ "$purpose" != service-account ]; then
        mv "$folder/new" "$folder/$purpose.crt"
        continue
    fi
    # A key, for this node's own alone.
    openssl cms -decrypt -inform PEM -in "$folder/new" -inkey "$folder/node.key" -out "$folder/service-account.new"
    signs "$folder/service-account.new" || {
        echo "the key for service accounts is not the one of the lab's authority" >&2
        exit 1
    }
    mv "$folder/service-account.new" "$folder/service-account.key"
    rm "$folder/new"
done
rm -f "$folder/token" "$folder/request" "$folder/trusted"

# A folder of one's own is nobody's but whoever named it.
if [ $# = 0 ] && [ -d /run/systemd/system ] && ! systemctl is-active --quiet pilotlight-renewal.timer; then
    systemd-run --quiet --unit=pilotlight-renewal --on-calendar=weekly --timer-property=RandomizedDelaySec=1d \
        /bin/sh "$0" "$folder" week
fi
