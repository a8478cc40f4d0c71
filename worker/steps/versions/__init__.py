"""The versions of one bot, and what a person does with them."""
