"""Reading every metric at one moment."""
