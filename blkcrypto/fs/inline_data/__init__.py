"""Encrypted files whose data lies in the inode: the proposal, and the alternatives of its review."""
