"""Public benchmarks, read as published: start at `read.read_benchmark`."""
