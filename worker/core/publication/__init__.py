"""Publication: who goes live when, what decides after each wave, and the way back."""
