"""What `make bench` measures: see docs/benchmark.md."""
