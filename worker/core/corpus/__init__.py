"""The built-in corpus: workflows of every kind that V1 runs, and messages, to hold a platform against."""
