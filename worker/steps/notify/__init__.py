"""Telling people: what is due is spread over the channels, sent, and looked at."""
