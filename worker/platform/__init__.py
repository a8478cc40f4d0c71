"""The platform's own word: its validator and its engine, as programs of their own that we ask."""
