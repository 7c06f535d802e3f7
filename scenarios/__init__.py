"""Experiments: what a user runs."""
