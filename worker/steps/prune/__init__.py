"""Pruning: in small transactions, beside the platform's own work."""
