"""Figures to compare, paired with a named baseline in the same run."""
