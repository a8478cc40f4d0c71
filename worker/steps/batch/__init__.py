"""A batch: claimed, converted or validated, and ended once."""
