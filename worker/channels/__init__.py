"""Where notifications go: signed webhooks, Slack, and what Apprise knows. No database here."""
