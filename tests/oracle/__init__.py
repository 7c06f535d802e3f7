"""Slow literal twins of fast code: they share nothing with the product."""
