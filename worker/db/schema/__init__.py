"""What a database holds, and whether flowshift can work with it."""
