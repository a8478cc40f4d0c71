"""The last step of all: V1 of bots that are finished with it goes into our schema, and may come back."""
