"""Key designs in a run: which bios, keys, IVs, extra I/O and CPU time each makes of the same workload."""
