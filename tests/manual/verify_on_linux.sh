#!/usr/bin/env bash
# Overwrites files in a copy of an encrypted image with `blkcrypto image write`, mounts the copy under the
# running kernel, adds the keys, and compares every name and byte.  Not part of the test suite: it needs root,
# loop devices and a kernel with CONFIG_FS_ENCRYPTION (and the ciphers of the case's modes).
#
#   sudo tests/manual/verify_on_linux.sh IMAGE[.xz] CASE.json...
#
# BLKCRYPTO names the command to test, by default `blkcrypto`.  Prints what differs; exit status 1 if anything.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,9p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "needs root: mounting and adding keys by descriptor do" >&2; exit 2; }
command="${BLKCRYPTO:-blkcrypto}"
image="$1"; shift
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
failed=0

cleanup() {
    mountpoint -q "$work/mnt" && umount "$work/mnt"
    rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/mnt"

case "$image" in
    *.xz) xz -dkc "$image" > "$work/copy.img" ;;
    *) cp "$image" "$work/copy.img" ;;
esac
copy="$work/copy.img"

python3 "$here/linux_fscrypt.py" case-keys "$@" > "$work/keys"
options=()
while read -r key descriptor _; do
    options+=(--key "$key")
    [ "$descriptor" = - ] || options+=(--descriptor "$descriptor=$key")
done < "$work/keys"

overwrite() {  # PATH OFFSET BYTES
    head -c "$3" /dev/urandom > "$work/new"
    "$command" image write "$copy" "$1" "$work/new" --offset "$2" "${options[@]}"
}

compare() {  # WHAT EXPECTED GOT
    if cmp -s "$2" "$3"; then
        echo "same: $1"
    else
        echo "DIFFERS: $1"
        diff "$2" "$3" | head -20 || true
        failed=1
    fi
}

listing() {  # OPTIONS...: inode and path of everything, as blkcrypto shows it
    "$command" image ls -R --json - "$copy" "$@" |
        python3 -c 'import json, sys
for row in sorted(json.load(sys.stdin), key=lambda row: row["path"]):
    print(row["ino"], row["path"], row["target"] or "")' > "$work/ours"
}

recorded() {  # the same, as Linux shows it
    python3 "$here/linux_fscrypt.py" record "$work/mnt" > "$work/record"
    python3 -c 'import json, sys
rows = [json.loads(line) for line in sys.stdin]
for row in sorted(rows, key=lambda row: row["path"]):
    print(row["ino"], row["path"], row.get("target", ""))' < "$work/record" > "$work/theirs"
}

# Across data units, inside one, a whole file, up to the last byte, and over two blocks of a sparse one.
while read -r _ _ top; do
    overwrite "/$top/f-5000" 1000 3500
    overwrite "/$top/f-5000" 4990 10
    overwrite "/$top/f-17" 0 17
    overwrite "/$top/f-sparse2" 900 1000
done < "$work/keys"
"$command" image verify "$copy" "${options[@]}"

mount -o loop "$copy" "$work/mnt"
listing
recorded
compare "no-key names and targets" "$work/theirs" "$work/ours"

while read -r key descriptor _; do
    [ "$descriptor" != - ] || descriptor=""
    python3 "$here/linux_fscrypt.py" add-key "$work/mnt" "$key" $descriptor
done < "$work/keys"
listing "${options[@]}"
recorded
compare "names and targets with keys" "$work/theirs" "$work/ours"

while IFS=$'\t' read -r path digest; do
    got="$("$command" image cat "$copy" "$path" "${options[@]}" | sha256sum | cut -d' ' -f1)"
    if [ "$got" = "$digest" ]; then
        echo "same: $path"
    else
        echo "DIFFERS: $path: Linux says $digest"
        failed=1
    fi
done < <(python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if "sha256" in row:
        print(row["path"], row["sha256"], sep="\t")' < "$work/record")

umount "$work/mnt"
e2fsck -fn "$copy" || failed=1
[ "$failed" = 0 ] && echo "all the same" || echo "SOMETHING DIFFERS"
exit "$failed"
