"""Who may come in, from where, how often, and what they may do. `gatekeeper` puts it together."""
