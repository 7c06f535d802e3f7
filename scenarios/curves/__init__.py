"""Keyslots as a cache: the keyslot curve of a workload, without simulating time.

``curve`` is the way in.  ``accesses`` turns a scenario into the keys its bios use.  ``reuse`` (LRU at every
number of keyslots), ``lru`` (at one, by its ``horizon``), ``optimal`` (the least that any choice of victims
can reach) and ``sampling`` (a share of a huge workload) count the hits of a column of keys and know nothing
of scenarios.
"""
