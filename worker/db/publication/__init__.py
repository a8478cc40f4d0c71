"""Publication in the database: its tables, publishing and rolling back, one transaction a batch."""
