"""flowshift: takes a fleet of chatbot workflows from V1 to V2."""

__version__ = "0.1.0"
