"""The endpoints that the platform's guide uses, with its paths and its shapes, on the same tables."""
