"""Pruning in the database: finding, counting and deleting what is too old, and the record of it."""
