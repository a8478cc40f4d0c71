"""Backups of the database, the pure part: the manifest, hashes, comparison, and who asks for one."""
