"""Backups of the database as a whole: their record, their snapshot, their hashes, their restoring.

Not to be confused with `worker.db.backups`, which keeps the V1 of each bot in the database itself.
"""
