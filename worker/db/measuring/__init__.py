"""Measuring: what a process counts and times, added up in the database with what it is of."""
