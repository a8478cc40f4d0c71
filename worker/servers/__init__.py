"""PostgreSQL, Redis and the queue: reached by URL or started here; processes and their heartbeats."""
