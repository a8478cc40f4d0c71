"""Workflows: reading V1, converting it, and what a V2 graph is and must be."""
