"""The compiled way: ``hwmodel.shortway`` over flat arrays, by numba (extra ``fast``).

``way`` leads a machine, ``loop`` is what is compiled, ``state`` is what both know.
"""
