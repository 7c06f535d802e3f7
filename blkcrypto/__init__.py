"""The blk-crypto layer as Linux defines it: rules and bytes, no simulated time."""

__version__ = "0.1.0"
