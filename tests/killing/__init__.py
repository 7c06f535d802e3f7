"""Random SIGKILLs during sweeps and serves: ``python -m tests.killing --kills 200``.

sweeps.py     a sweep is killed again and again, and goes on: no point is lost, changed or run twice
serves.py     a server is killed between writes: whatever it acknowledged is read back after it starts again
__main__.py   both, with counts
"""
