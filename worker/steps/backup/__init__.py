"""Backups of the database: take one, verify it, and ask for one before what is hard to take back."""
