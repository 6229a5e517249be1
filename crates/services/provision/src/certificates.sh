#!/bin/sh
# Fetches this node's certificates, for a key that is made here and stays here, and renews those that have little time left. To
# be run as root, at each start; it sees to it itself that it is run again every week.
set -eu
umask 077
# (what is asked, and where)
folder=${1:-/etc/kubernetes/pki}
# Half of the time for which they are given, in seconds: the Pi renews none that has more left.
half=15768000

fetch() {
    curl -fsS --retry 5 --retry-delay 2 --retry-connrefused "$@"
}

# What is wanted for $purpose, to be shown with it what "$@" says.
ask() {
    fetch --data-urlencode "request@$folder/request" --data-urlencode "purpose=$purpose" "$@" -o "$folder/new" "$own/certificate"
}

# Whether there is nothing to do for $purpose, or no more.
settled() {
    [ "$purpose" != service-account ] || { [ -s "$folder/service-account.key" ]; return; }
    [ -s "$folder/$purpose.crt" ] || return
    if openssl x509 -in "$folder/$purpose.crt" -noout -checkend "$half" > /dev/null; then return; fi
    # The key shows whose it is: no token is wanted for this.
    ask --data-urlencode "certificate@$folder/$purpose.crt" && mv "$folder/new" "$folder/$purpose.crt"
}

mkdir -p "$folder"
for name in kubernetes.crt etcd.crt front-proxy.crt service-account.pub; do
    fetch -o "$folder/new" "$pi/pki/$name"
    case $name in
    *.crt) mv "$folder/new" "$folder/ca-$name" ;;
    *) mv "$folder/new" "$folder/$name" ;;
    esac
done

if [ ! -s "$folder/node.key" ]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/new"
    mv "$folder/new" "$folder/node.key"
fi
openssl req -new -key "$folder/node.key" -subj /CN=node -out "$folder/request"

# The token never stands on a command line. It is for this key alone, which may ask for another as long as the node is armed.
rm -f "$folder/token"
for purpose in $purposes; do
    if settled; then continue; fi
    [ -s "$folder/token" ] || fetch --data-urlencode "request@$folder/request" -o "$folder/token" "$own/token"
    ask --data-urlencode "token@$folder/token"
    if [ "$purpose" != service-account ]; then
        mv "$folder/new" "$folder/$purpose.crt"
        continue
    fi
    # A key, for this node's own alone; its public half is known already.
    openssl cms -decrypt -inform PEM -in "$folder/new" -inkey "$folder/node.key" -out "$folder/service-account.new"
    [ "$(openssl pkey -in "$folder/service-account.new" -pubout)" = "$(cat "$folder/service-account.pub")" ] || {
        echo "the key for service accounts is not the one of the lab's authority" >&2
        exit 1
    }
    mv "$folder/service-account.new" "$folder/service-account.key"
    rm "$folder/new"
done
rm -f "$folder/token" "$folder/request"

# A folder of one's own is nobody's but whoever named it.
if [ $# = 0 ] && [ -d /run/systemd/system ] && ! systemctl is-active --quiet pilotlight-renewal.timer; then
    systemd-run --quiet --unit=pilotlight-renewal --on-calendar=weekly --timer-property=RandomizedDelaySec=1d /bin/sh "$0"
fi
