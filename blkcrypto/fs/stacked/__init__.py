"""Encryption below or above a filesystem: dm-crypt, dm-inlinecrypt and default-key, eCryptfs."""
