"""Arithmetic, units, errors: depends on nothing."""
