"""A small filesystem to hang fscrypt on: inodes, directories, a page cache, blocks of ciphertext."""
