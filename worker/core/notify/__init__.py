"""What people are told: events, their texts, how each channel writes them, and when one is tried again."""
