"""Many runs: a grid of scenarios on any workers, stored point by point.

``sweep`` is the way in.  ``point`` is one run and what identifies it, ``executor`` the workers, and ``store``
the folder that an interrupted sweep goes on from.  Of a finished sweep, ``merged`` adds up points that answer
one question together (``pool`` is how distributions add up), and ``knee`` says how few keyslots are enough.
"""
