"""Parity: which messages to try, what V1 and V2 did with each, and whether it is the same."""
