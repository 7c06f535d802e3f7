#!/usr/bin/env bash
# Makes tests/vectors/images/: small encrypted ext4 images, written by the running kernel, with the layouts that
# other images lack, and records of what that kernel shows, with the key and without.
#
#   blockmap   ext2's layout: block maps up to three levels, inodes of 128 bytes, so that the encryption context
#              lies in an xattr block, directories without hashes
#   trees      extent trees of depth 1 and 2, reserved extents, a hashed directory (TEA), metadata checksums with
#              a seed of their own, a journal, hard links, and inline data beside the encrypted files
#
#   sudo tests/manual/make_layout_images.sh OUTDIR
#
# Needs root, loop devices, e2fsprogs, xz and a kernel with CONFIG_FS_ENCRYPTION.  Nonces are random: every run
# makes other images.
set -euo pipefail

[ $# = 1 ] || { sed -n '2,17p' "$0"; exit 2; }
out="$1"
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
mnt="$work/mnt"
# The key of the golden images.
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
trap 'mountpoint -q "$mnt" && umount "$mnt"; rm -rf "$work"' EXIT
mkdir -p "$mnt" "$out"
fscrypt() { python3 "$here/linux_fscrypt.py" "$@"; }

write() {  # FILE OFFSET SEED BYTES: shake_128 of the seed
    python3 -c 'import hashlib, os, sys
path, offset, seed, size = sys.argv[1:]
file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
os.pwrite(file, hashlib.shake_128(seed.encode()).digest(int(size)), int(offset))' "$@"
}

encrypted_dir() {  # DIR FLAGS
    mkdir "$1"
    identifier="$(fscrypt add-key "$mnt" "$key")"
    fscrypt set-policy "$1" "020104${2}00000000$identifier"
}

fill_blockmap() {
    encrypted_dir "$mnt/dir" 03
    write "$mnt/dir/direct" 0 direct 5000
    write "$mnt/dir/indirect" 0 indirect 20000
    local block
    for block in 3 11 12 267 268 300 65803 65804 70000; do
        write "$mnt/dir/sparse" $((block * 1024 + 100)) "sparse-$block" 77
    done
    local number
    for number in $(seq 40); do : > "$mnt/dir/a name of some length, number $number"; done
    ln -s "$(printf 'x%.0s' $(seq 200))" "$mnt/dir/long link"
    ln -s short "$mnt/dir/short link"
    ln -s "$(printf 'y%.0s' $(seq 58))" "$mnt/plain link"
    write "$mnt/plain" 0 plain 15000
}

fill_trees() {
    encrypted_dir "$mnt/dir" 02
    local block
    for block in $(seq 0 2 20); do write "$mnt/dir/depth1" $((block * 1024)) "depth1-$block" 1024; done
    # Reserved space splits into extents as well, and leaves nothing in the image.
    for block in $(seq 1000 2 1900); do fallocate -o $((block * 1024)) -l 1024 "$mnt/dir/depth2"; done
    write "$mnt/dir/depth2" $((500 * 1024)) depth2-500 3000
    write "$mnt/dir/depth2" $((1900 * 1024)) depth2-1900 1000
    fallocate -l 8192 "$mnt/dir/reserved"
    write "$mnt/dir/reserved" 5000 reserved 10
    ln "$mnt/dir/depth1" "$mnt/dir/second name of depth1"
    mkdir "$mnt/dir/many"
    local number
    for number in $(seq 150); do
        ln "$mnt/dir/reserved" "$mnt/dir/many/$(printf 'n%.0s' $(seq $((number % 90 + 1))))-$number"
    done
    mkdir "$mnt/plain"
    echo inline > "$mnt/plain/inline"
    printf 'z%.0s' $(seq 120) > "$mnt/plain/inline in two parts"
    ln -s elsewhere "$mnt/plain/link"
}

make() {  # NAME MKFS-OPTIONS...
    local name="$1" image="$work/$1.img"; shift
    mke2fs -q -F -b 1024 "$@" "$image" 4M 2> /dev/null
    tune2fs -E hash_alg=tea "$image" > /dev/null
    mount -o loop "$image" "$mnt"
    "fill_$name"
    umount "$mnt"
    mount -o loop,ro "$image" "$mnt"
    fscrypt record "$mnt" > "$work/without"
    umount "$mnt"
    mount -o loop "$image" "$mnt"
    fscrypt add-key "$mnt" "$key" > /dev/null
    fscrypt record "$mnt" > "$work/with"
    umount "$mnt"
    e2fsck -fn "$image" > /dev/null
    xz -9ec "$image" > "$out/$name.img.xz"
    python3 -c 'import json, sys
name, key, mkfs, kernel, *files = sys.argv[1:]
rows = [[json.loads(line) for line in open(file)] for file in files]
record = {
    "source": "written and listed by Linux " + kernel + "; tests/manual/make_layout_images.sh",
    "mkfs": mkfs, "master_key": key, "with_key": rows[0], "without_key": rows[1],
}
def lines(rows):
    return "[\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"
text = ",\n ".join(json.dumps(k) + ": " + (lines(v) if type(v) is list else json.dumps(v)) for k, v in record.items())
open(name, "w").write("{\n " + text + "\n}\n")' "$out/$name.json" "$key" "mke2fs -b 1024 $*" "$(uname -r | cut -d- -f1)" \
        "$work/with" "$work/without"
}

make blockmap -I 128 -N 64 -O encrypt,metadata_csum,^extent,^dir_index,^has_journal,^64bit,^resize_inode
make trees -N 32 \
    -O encrypt,extent,flex_bg,extra_isize,inline_data,dir_index,metadata_csum,metadata_csum_seed,64bit,has_journal,^resize_inode -J size=1
