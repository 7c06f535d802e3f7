"""The block layer: bios, keys, crypto profiles, keyslots, requests, the software fallback."""
