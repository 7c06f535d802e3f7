"""Scenario and device files as people write them.

``document`` turns TOML into structs and says where a value stood; ``overrides`` puts ``--set`` on top;
``check`` refuses what fits the schema and makes no sense.  ``figures``, ``spelling`` and ``nearest`` are how
values and names are shown and what a wrong name was meant to be.
"""
