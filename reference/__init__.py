"""What writes docs/reference: the pages that the program knows better than a person."""
