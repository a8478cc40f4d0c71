"""Alert rules: when one holds, what becomes of it over time, and what people are told."""
