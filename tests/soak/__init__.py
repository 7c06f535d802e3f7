"""Hours of mixed replays with faults in one process: ``python -m tests.soak``, or ``make soak``.

workload.py   what is run next, drawn from a seed
__main__.py   runs it until time is up; counts and resident memory every minute
"""
