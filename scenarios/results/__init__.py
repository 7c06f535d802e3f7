"""What is measured, from bios' records to the figures of a run.

``records`` are the columns that a machine hands on; ``measure`` takes them as they come and ``distribution``
holds their percentiles; ``result`` is the run's end.  ``latencies``, ``overtime``, ``slotuse`` and
``observed`` keep what pictures need.
"""
