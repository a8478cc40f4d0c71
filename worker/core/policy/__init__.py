"""Policy: decisions about runs from numbers alone – states, pace, health, budgets, pruning."""
