#!/usr/bin/env bash
# A lazy mirror: what an upstream lists is here at once, and its files come when a client asks for them. Of another Headwater, and of a static tree behind
# nginx, whose log tells what was transferred: by many clients at once, through the death of the upstream, and when it is down.
# shellcheck disable=SC2031
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

export HEADWATER_DELTAS_ENABLED=false
BIG=${LAZY_BIG:-1073741824}
server_start
server_second
for release in bookworm trixie; do
    tiny_image "$CASE/c-$release" Debian "$release" 202501010000
done
tiny_vm "$CASE/m-trixie" Debian trixie 202501010000
container=$(fingerprint_of "$CASE"/c-bookworm/{metadata.tar.xz,rootfs.squashfs})
other=$(fingerprint_of "$CASE"/c-trixie/{metadata.tar.xz,rootfs.squashfs})
machine=$(fingerprint_of "$CASE"/m-trixie/{metadata.tar.xz,disk.qcow2})
all=$(printf '%s\n' "$container" "$other" "$machine" | sort)
publish "$CASE"/c-bookworm/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
publish "$CASE"/c-trixie/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
publish "$CASE"/m-trixie/{metadata.tar.xz,disk.qcow2} --public >/dev/null

# added UPSTREAM URL [OPTION...]: a lazy upstream of the second server, in a project of its own.
added() {
    on_second headwater project create "$1"
    on_second headwater mirror add "$1" "$2" --project "$1" --public --schedule 0s --lazy "${@:3}"
}
run() { on_second headwater mirror run "$1" --format json 2>/dev/null | jq -r 'select(.event == "ended") | "\(.listed) \(.taken) \(.removed) \(.bytes)"'; }
held() { on_second headwater mirror status "$1" --format json | jq -r '.[0].held | "\(.files) of \(.of_files)"'; }
# copied CLIENT REMOTE FINGERPRINT [OPTION]: the daemon has the image, and lets it go again.
copied() {
    "$1" image copy "$2:$3" local: "${@:4}"
    assert_eq "$("$1" image info "local:$3" "${@:4}" | sed -n 's/^Fingerprint: //p')" "$3" "what $1 copied from $2"
    "$1" image delete "local:$3"
}

step "of another Headwater"
added headwater "$URL" --certificate "$DATA/tls/server.crt"
assert_eq "$(run headwater)" "3 3 0 0" "a run lists all and brings nothing"
assert_eq "$(run headwater)" "3 0 0 0" "the second run"
assert_eq "$(held headwater)" "0 of 5" "files that are here"
for client in "${CLIENTS[@]}"; do
    on_second add_remote "$client" lazy-streams simplestreams /p/headwater
    assert_eq "$(listed "$client" lazy-streams)" "$all" "what $client lists"
    assert_eq "$(listed "$client" lazy-streams release=bookworm)" "$container" "what $client filters"
done
assert_eq "$(held headwater)" "0 of 5" "files that are here, after lists alone"
for client in "${CLIENTS[@]}"; do
    step "$client copies"
    daemon "$client"
    copied "$client" lazy-streams "$container"
    copied "$client" lazy-streams "$machine" --vm
    daemon_forget "$client"
done
assert_eq "$(held headwater)" "4 of 5" "files that are here"

step "over the API"
# Projects other than the default one are not shown to guests there, so the default one has a lazy upstream, too.
on_second headwater mirror add plain "$URL" --public --schedule 0s --lazy --certificate "$DATA/tls/server.crt"
assert_eq "$(run plain)" "3 3 0 0" "the run"
assert_eq "$(held plain)" "4 of 5" "what is here came with another upstream"
for client in "${CLIENTS[@]}"; do
    on_second add_remote "$client" lazy-api api
    assert_eq "$(listed "$client" lazy-api)" "$all" "what $client lists"
    assert_eq "$(listed "$client" lazy-api release=bookworm)" "$container" "what $client filters"
    "$client" image export "lazy-api:$other" "$CASE/exported-$client" >/dev/null
    assert_same_file "$CASE/exported-$client.root" "$CASE/c-trixie/rootfs.squashfs"
    assert_contains "$("$client" image info "lazy-api:$container")" bookworm "what $client tells"
    daemon "$client"
    copied "$client" lazy-api "$other"
    daemon_forget "$client"
done
assert_eq "$(held plain)" "5 of 5" "files that are here"

step "of a static tree behind nginx"
tree=$CASE/www/tree
mkdir -p "$tree/streams/v1" "$tree/images" "$tree/slow"
openssl enc -aes-128-ctr -K 00000000000000000000000000000001 -iv 0 </dev/zero 2>/dev/null | head -c "$BIG" >"$tree/images/big.squashfs" || true
head -c 64000000 "$tree/images/big.squashfs" | tail -c 32000000 >"$tree/slow/root.squashfs"
cp "$CASE/c-bookworm/metadata.tar.xz" "$tree/images/meta.tar.xz"
item() { # ftype path: without a bracket at its end
    printf '{"ftype": "%s", "path": "%s", "size": %s, "sha256": "%s"' "$1" "$2" "$(stat -c %s "$tree/$2")" "$(sha256sum "$tree/$2" | cut -d' ' -f1)"
}
version() { # name root
    printf '"%s": {"items": {"incus.tar.xz": %s, "combined_squashfs_sha256": "%s"}, "squashfs": %s}}}' "$1" \
        "$(item incus.tar.xz images/meta.tar.xz)" "$(cat "$tree/images/meta.tar.xz" "$tree/$2" | sha256sum | cut -d' ' -f1)" "$(item squashfs "$2")"
}
cat >"$tree/streams/v1/index.json" <<'JSON'
{"format": "index:1.0", "index": {"images": {"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json",
 "products": ["debian:bookworm:amd64:default"]}}}
JSON
cat >"$tree/streams/v1/images.json" <<JSON
{"format": "products:1.0", "content_id": "images", "datatype": "image-downloads", "products": {"debian:bookworm:amd64:default": {
 "aliases": "debian/12", "arch": "amd64", "os": "Debian", "release": "bookworm", "release_title": "bookworm", "variant": "default",
 "versions": {$(version 20250101_07:42 images/big.squashfs), $(version 20250102_07:42 slow/root.squashfs)}}}}
JSON
chmod -R a+rX "$CASE"
static_server "$CASE/www" "location /tree/slow/ { limit_rate 4m; }"
nginx_again() {
    spawn "$CASE" nginx nginx -e stderr -c "$CASE/nginx/nginx.conf" -p "$CASE/nginx"
    wait_for 10 "nginx" curl -sfk "$STATIC_URL/tree/streams/v1/index.json"
}
# transfers PATH: status and bytes of each answer that nginx gave.
transfers() { awk -v path="/tree/$1" '$7 == path { print $9, $10 }' "$CASE/log/nginx-access.log"; }
added static "$STATIC_URL/tree" --certificate "$STATIC_CERTIFICATE"
assert_eq "$(run static)" "2 2 0 0" "the run"

step "32 clients ask for the same cold file"
sum() { sha256sum "$1" | cut -d' ' -f1; }
big=$(sum "$tree/images/big.squashfs")
cold="${SECOND_URL/https/http}/p/static/images/$big.squashfs"
seq 32 | xargs -P 32 -I{} sh -c "curl -sSf '$cold' | sha256sum | cut -d' ' -f1" >"$CASE/sums"
assert_eq "$(sort "$CASE/sums" | uniq -c | tr -s ' ' | sed 's/^ //')" "32 $big" "what they got"
assert_eq "$(transfers images/big.squashfs)" "200 $BIG" "what was transferred for them"
assert_eq "$(curl -sSf "$cold" | sha256sum | cut -d' ' -f1)" "$big" "what the next one gets"
assert_eq "$(transfers images/big.squashfs | wc -l)" 1 "transfers for the next one"

step "the upstream is killed midway"
slow=$(sum "$tree/slow/root.squashfs")
cold="${SECOND_URL/https/http}/p/static/images/$slow.squashfs"
(
    code=0
    curl -sS -o "$CASE/part" "$cold" 2>/dev/null || code=$?
    echo "$code" >"$CASE/code"
) &
began() { [ "$(stat -c %s "$CASE/part" 2>/dev/null || echo 0)" -gt 2000000 ]; }
wait_for 20 "the first bytes" began
# With its workers, which would go on without the process that began them.
kill -KILL -- "-$(pid_of "$CASE/run" nginx)"
rm -f "$CASE/run/nginx.pid"
wait
assert_ne "$(cat "$CASE/code")" 0 "the exit code of a client whose connection broke"
had=$(stat -c %s "$CASE/part")
[ "$had" -lt 32000000 ] || fail "all of it came"
cmp -n "$had" "$CASE/part" "$tree/slow/root.squashfs" || fail "what came is no part of the file"

step "the upstream is down"
assert_eq "$(curl -sSf "${SECOND_URL/https/http}/p/static/images/$big.squashfs" | sha256sum | cut -d' ' -f1)" "$big" "what is here is served"
assert_status 503 "$cold"
assert_contains "$(curl -sS "$cold")" "cannot be reached now" "what is told of what is not here"
assert_eq "$(on_second headwater image list --project static --format json | jq length)" 2 "and all of it is listed"

step "it is back"
nginx_again
curl -sSf -o "$CASE/whole" "$cold"
assert_same_file "$CASE/whole" "$tree/slow/root.squashfs"
assert_eq "$(transfers slow/root.squashfs | cut -d' ' -f1)" 206 "the rest alone was asked for"
rest=$(transfers slow/root.squashfs | cut -d' ' -f2)
[ "$rest" -lt 32000000 ] || fail "all of it came again"

step "limits"
on_second headwater mirror edit static --cache-size 1MiB
assert_contains "$(on_second headwater gc --dry-run 2>&1)" "beyond the limits" "what gc would do"
assert_contains "$(on_second headwater gc 2>&1)" "beyond the limits" "what gc does"
assert_eq "$(held static | cut -d' ' -f1)" "0" "files that are here"
assert_contains "$(on_second headwater verify 2>&1)" "an upstream promises them" "what verify says"
curl -sSf -o "$CASE/whole" "${SECOND_URL/https/http}/p/static/images/$(sum "$tree/images/meta.tar.xz").tar.xz"
assert_same_file "$CASE/whole" "$tree/images/meta.tar.xz"

step "an upstream that is removed takes with it what is not here"
said=$(on_second headwater mirror remove static 2>&1)
assert_contains "$said" "2 images went with it" "what is told"
assert_eq "$(on_second headwater image list --project static --format json | jq length)" 0 "images that are left"

step "an API cannot be lazy"
assert_fails_with "does not say which files an image is made of" on_second headwater mirror add api "$URL" --protocol incus --lazy
