"""What holds for all tests."""

from hypothesis import settings

# How long a case takes says nothing about it on a machine that others use too.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
