"""The guard: hot paths, counted instead of timed, against what is committed. `python -m benchmarks.guard`."""
