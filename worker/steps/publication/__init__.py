"""Use cases of publication: the way back."""
