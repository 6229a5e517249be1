#!/bin/sh
# Fetches this node's certificates, for a key that is made here and stays here. To be run as root, once at each start.
set -eu
umask 077
# (what is asked, and where)
folder=${1:-/etc/kubernetes/pki}

fetch() {
    curl -fsS --retry 5 --retry-delay 2 --retry-connrefused "$@"
}

mkdir -p "$folder"
for name in kubernetes.crt etcd.crt front-proxy.crt service-account.pub; do
    fetch -o "$folder/ca-$name" "$pi/pki/$name"
done
mv "$folder/ca-service-account.pub" "$folder/service-account.pub"

if [ ! -s "$folder/node.key" ]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/new"
    mv "$folder/new" "$folder/node.key"
fi
openssl req -new -key "$folder/node.key" -subj /CN=node -out "$folder/request"

# The token never stands on a command line. It is for this key alone, which may ask for another as long as the node is armed.
fetch --data-urlencode "request@$folder/request" -o "$folder/token" "$own/token"
for purpose in $purposes; do
    fetch --data-urlencode "token@$folder/token" --data-urlencode "request@$folder/request" \
        --data-urlencode "purpose=$purpose" -o "$folder/new" "$own/certificate"
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
rm "$folder/token" "$folder/request"
