"""The processes that run: a supervisor, how each shows that it works, and what beat and Flower add."""
