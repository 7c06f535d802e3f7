"""Trace readers: every format becomes the same column batches."""
