#!/usr/bin/env bash
# Signed streams, served and exported: gpgv, gpg and the tools of simplestreams believe them, and refuse a changed byte. With a key
# that Headwater makes, and with keys that gpg made.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
tools=$TOP/target/tools/python/bin
[ -x "$tools/sstream-mirror" ] || fail "sstream-mirror is missing: run './dev setup'"
export GNUPGHOME=$CASE/gnupg
mkdir -m 700 "$GNUPGHOME"

tiny_image "$CASE/one" Debian bookworm 202501010000
tiny_image "$CASE/two" Debian trixie 202501010000
server_start
publish "$CASE/one/metadata.tar.xz" "$CASE/one/rootfs.squashfs" --public >/dev/null
export REQUESTS_CA_BUNDLE=$DATA/tls/server.crt SSL_CERT_FILE=$DATA/tls/server.crt

fetch() { curl -sSf --cacert "$1" "$2" -o "$3"; } # certificate, address, file
FILES=(index.json index.json.gpg index.sjson images.json images.json.gpg images.sjson)

# tree CERTIFICATE ADDRESS FOLDER: everything that is signed, and the key.
tree() {
    local file
    mkdir -p "$3"
    for file in "${FILES[@]}"; do fetch "$1" "$2/streams/v1/$file" "$3/$file"; done
    fetch "$1" "$2/signing-key.asc" "$3/key.asc"
    fetch "$1" "$2/signing-key.gpg" "$3/key.gpg"
}

# changed FILE: the same with one letter changed, in FILE.changed.
changed() {
    sed '0,/debian:/s//debiam:/' "$1" >"$1.changed"
    ! cmp -s "$1" "$1.changed" || fail "nothing was changed in $1"
}

mirror() { # address, folder, keyring
    "$tools/sstream-mirror" --keyring "$3" "$1/streams/v1/index.sjson" "$2"
}

# good CERTIFICATE ADDRESS FOLDER NAME: every program believes what is there.
good() {
    local certificate=$1 address=$2 folder=$3 name=$4 file
    tree "$certificate" "$address" "$folder"
    export REQUESTS_CA_BUNDLE=$certificate SSL_CERT_FILE=$certificate
    local -x GNUPGHOME=$folder/gnupg
    mkdir -m 700 "$GNUPGHOME"
    gpg --batch --quiet --import "$folder/key.asc"
    for file in index images; do
        step "$name: $file"
        for form in "$file.sjson" "$file.json.gpg"; do
            against=()
            [ "$form" = "$file.sjson" ] || against=("$folder/$file.json")
            assert_contains "$(gpgv --keyring "$folder/key.gpg" "$folder/$form" "${against[@]}" 2>&1)" "Good signature from \"$name\""
            assert_contains "$(gpg --batch --verify "$folder/$form" "${against[@]}" 2>&1)" "Good signature from \"$name\""
        done
        changed "$folder/$file.sjson"
        changed "$folder/$file.json"
        assert_fails_with "BAD signature" gpgv --keyring "$folder/key.gpg" "$folder/$file.sjson.changed"
        assert_fails_with "BAD signature" gpg --batch --verify "$folder/$file.sjson.changed"
        assert_fails_with "BAD signature" gpgv --keyring "$folder/key.gpg" "$folder/$file.json.gpg" "$folder/$file.json.changed"
        assert_fails_with "BAD signature" gpg --batch --verify "$folder/$file.json.gpg" "$folder/$file.json.changed"
        # What is signed is what is served unsigned, but for the path of the signed document.
        assert_eq "$(gpg --batch --quiet --decrypt "$folder/$file.sjson" 2>/dev/null | sed 's/images\.sjson/images.json/' | jq -S .)" \
            "$(jq -S . "$folder/$file.json")" "the text of $file.sjson"
    done
    step "$name: sstream-query and sstream-mirror"
    assert_contains "$("$tools/sstream-query" --keyring "$folder/key.gpg" "$address/streams/v1/index.sjson" release=bookworm)" "debian:bookworm"
    mirror "$address" "$folder/mirror" "$folder/key.gpg"
    assert_eq "$(cd "$folder/mirror/images" && find . -type f -size +0 | wc -l)" "$(jq '[.products[].versions[].items[].path] | unique | length' "$folder/images.json")" "files of the mirror"
    # Who has another key believes nothing.
    assert_fails sstream_with "$CASE/other.gpg" "$address" "$folder/none"
    gpgconf --kill gpg-agent
}
sstream_with() { mirror "$2" "$3" "$1"; }
assert_fails() { ! "$@" >"$CASE/refused" 2>&1 || fail "this must fail, and does not: $*"; }

# bad FOLDER NAME: a tree in which one byte of a signed document is changed is refused by the tools, whichever document it is.
bad() {
    local file
    for file in index images; do
        step "$2: the tools and a changed $file"
        rm -rf "$CASE/www/bad" && cp -r "$1" "$CASE/www/bad"
        changed "$CASE/www/bad/streams/v1/$file.sjson"
        mv "$CASE/www/bad/streams/v1/$file.sjson.changed" "$CASE/www/bad/streams/v1/$file.sjson"
        chmod -R a+rX "$CASE/www"
        assert_fails mirror "$STATIC_URL/bad" "$CASE/bad-mirror-$file" "$CASE/www/bad/signing-key.gpg"
        assert_eq "$(find "$CASE/bad-mirror-$file" -path '*/images/*' -type f 2>/dev/null | wc -l)" 0 "files of a tree that is not believed"
        assert_fails "$tools/sstream-query" --keyring "$CASE/www/bad/signing-key.gpg" "$STATIC_URL/bad/streams/v1/index.sjson"
    done
}

step "without a key"
assert_eq "$(curl -s -o /dev/null -w '%{http_code}' --cacert "$DATA/tls/server.crt" "$URL/streams/v1/index.sjson")" 404 "index.sjson"

step "keys that gpg made"
printf 'correct horse' >"$CASE/pass"
made() { # name, algorithm, passphrase
    gpg --batch --quiet --pinentry-mode loopback --passphrase "$3" --quick-gen-key "$1" "$2" sign never
    gpg --batch --quiet --pinentry-mode loopback --passphrase "$3" --armor --export-secret-keys "$1" >"$CASE/$2.asc"
}
made "An RSA key" rsa3072 ""
made "An Ed25519 key" ed25519 "correct horse"
gpg --batch --quiet --pinentry-mode loopback --passphrase "" --quick-gen-key "Somebody else" ed25519 sign never
gpg --batch --export "Somebody else" >"$CASE/other.gpg"
gpgconf --kill gpg-agent # of this folder alone

headwater key create --name "Made here" --data "$DATA"
mkdir -p "$CASE/www"
static_server "$CASE/www"
both() { # name: the served tree and the exported one
    local folder=${1// /-}
    good "$DATA/tls/server.crt" "$URL" "$CASE/served-$folder" "$1"
    rm -rf "$CASE/www/tree"
    headwater export --to "$CASE/www/tree" --data "$DATA"
    chmod -R a+rX "$CASE/www"
    good "$AUTHORITY/ca.crt" "$STATIC_URL/tree" "$CASE/exported-$folder" "$1"
    # A server and an export sign the same bytes in the same way.
    for file in index.sjson index.json.gpg images.sjson images.json.gpg key.asc; do
        cmp "$CASE/served-$folder/$file" "$CASE/exported-$folder/$file" || fail "$file differs between server and export"
    done
    bad "$CASE/www/tree" "$1"
}
both "Made here"

step "a key follows another"
rsa=$(headwater key import "$CASE/rsa3072.asc" --data "$DATA")
# Who learns the keys now is ready for what comes.
fetch "$DATA/tls/server.crt" "$URL/signing-key.gpg" "$CASE/learned.gpg"
headwater key use "$rsa" --data "$DATA"
fetch "$DATA/tls/server.crt" "$URL/streams/v1/index.sjson" "$CASE/next.sjson"
assert_contains "$(gpgv --keyring "$CASE/learned.gpg" "$CASE/next.sjson" 2>&1)" 'Good signature from "An RSA key"'
both "An RSA key"

ed25519=$(headwater key import "$CASE/ed25519.asc" --passphrase-file "$CASE/pass" --data "$DATA")
headwater key use "$ed25519" --data "$DATA"
publish "$CASE/two/metadata.tar.xz" "$CASE/two/rootfs.squashfs" --public >/dev/null
both "An Ed25519 key"

step "many versions"
for n in $(seq 10 39); do
    tiny_image "$CASE/many/$n" Debian bookworm "2025020100$n"
    publish "$CASE/many/$n/metadata.tar.xz" "$CASE/many/$n/rootfs.squashfs" --public >/dev/null
done
tree "$DATA/tls/server.crt" "$URL" "$CASE/many/tree"
gpgv --keyring "$CASE/many/tree/key.gpg" "$CASE/many/tree/images.sjson"
# gpg looks at the first 20,000 bytes of a line only: a byte far behind that is changed, and has to be seen.
python3 - "$CASE/many/tree/images.sjson" <<'PYTHON'
import sys
text = open(sys.argv[1]).read()
at = text.rindex('"size":') + 7
assert at > 20000, at
open(sys.argv[1] + ".far", "w").write(text[:at] + ("2" if text[at] == "1" else "1") + text[at + 1:])
PYTHON
assert_fails_with "BAD signature" gpgv --keyring "$CASE/many/tree/key.gpg" "$CASE/many/tree/images.sjson.far"
