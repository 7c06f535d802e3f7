"""Ciphers and key derivation over batches of data units: arrays in, arrays out."""
