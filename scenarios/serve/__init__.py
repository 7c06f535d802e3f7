"""The emulated encrypted device for real clients: an NBD server in front of the block layer."""
