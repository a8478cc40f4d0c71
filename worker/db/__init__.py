"""The database: its tables, the connection to it, and functions that take a connection."""
