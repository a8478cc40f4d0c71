"""What `make bench` measures: see docs/explanation/benchmark.md."""
