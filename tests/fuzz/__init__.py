"""Fuzzing of everything that comes from outside: ``python -m tests.fuzz``, or ``make fuzz``.

targets.py    what is fed, from which seeds, and which errors are answers
commands.py   the target that feeds command lines
results.py    targets that feed what a sweep keeps
ondisk.py     targets that feed what key designs write
folder.py     where a process keeps its files
engine.py     how inputs are made: by coverage with atheris where it is installed, else by mutation
__main__.py   every target in a process of its own, for a stated time, with counts
"""
