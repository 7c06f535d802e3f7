"""Rows of a workload to pieces of files on a device.

``layout`` is the way in: which file and offset an address belongs to, and back.  ``pieces`` cuts and joins
byte ranges, ``permutation`` scatters extents, ``regions`` places files that a trace names, and
``filesample`` chooses a share of the files.
"""
