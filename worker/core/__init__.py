"""The pure core: no I/O, no clock, no randomness; now and ids are arguments."""
