"""Deliberately wrong versions of the block layer, each of which a test must find.

``python -m tests.mutants`` (``make mutants``) applies one after the other to a copy of the tree and runs the
tests that guard the rule.  A mutant nobody finds is a rule nobody tests.
"""
