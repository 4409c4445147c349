"""The parts of the benchmark, one module each: what is run, and what is taken from it."""
