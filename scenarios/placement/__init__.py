"""Rows of a workload to pieces of files on a device.

``layout`` is the way in: which file and offset an address belongs to, and back, over the file map of
``blkcrypto.fs.allocation``.  ``pieces`` cuts and joins byte ranges, and ``filesample`` chooses a share of the
files.
"""
