"""Filesystems: who decides key, data unit number and path."""
