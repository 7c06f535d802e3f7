"""Experiments: what a user runs.

A run, from file to figures::

    scenario file    schema  load  document  overrides  check  figures  spelling  nearest
    rows             source  workload  zipf  streams  traces/
    bios             placement/  keyed  filekeys  designs  keying/  fua
    machine          build  run
    figures          records  measure  distribution  result  latencies  overtime  slotuse  observed
    for people       report/  timeline/  explain  hostmemory

Many runs, and none: ``compare``, ``sweeps/``, ``campaign`` (faults), ``curves/`` (keyslots without time).

A device from a recording: ``calibrate``, over ``recording``, ``servicetimes``, ``mediafit`` and ``cachefit``.

The command: ``cli`` and ``commands/``; ``listing``, ``template``, ``keystore`` and ``serve/`` do the work.
``reference`` writes the pages that say what a scenario file may hold.
"""
