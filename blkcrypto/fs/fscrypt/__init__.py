"""fscrypt: policies, keys, names and the I/O rules of encrypted files."""
