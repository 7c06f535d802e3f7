"""Extents on a copy-on-write filesystem, and four designs of keys for them."""
