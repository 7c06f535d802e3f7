"""Experiments: what a user runs.

A run, from file to figures::

    scenario file    schema  load  files/
    rows             source  workload  zipf  streams  traces/
    bios             placement/  keyed  filekeys  designs  keying/  fua
    machine          build  model  compiled  run  collector
    figures          results/
    for people       report/  timeline/  explain  hostmemory

Many runs, and none: ``compare``, ``sweeps/``, ``campaign`` (faults), ``curves/`` (keyslots without time).

A device from a recording: ``calibration/``.

The command: ``cli`` and ``commands/``; ``ending`` says how it ends early; ``listing``, ``template``,
``keystore`` and ``serve/`` do the work.
``reference`` writes the pages that say what a scenario file may hold.
"""
