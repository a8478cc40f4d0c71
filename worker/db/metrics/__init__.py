"""What metrics are read from: committed rows, each statement bounded."""
