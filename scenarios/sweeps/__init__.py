"""Many runs: a grid of scenarios on any workers, stored point by point.

``sweep`` is the way in.  ``point`` is one run and what identifies it, ``executor`` the workers, ``store`` the
folder that an interrupted sweep goes on from, and ``knee`` what a finished one says about keyslots.
"""
