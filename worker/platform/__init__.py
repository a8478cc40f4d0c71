"""The platform's own programs, its validator and its engine: started and asked about drafts."""
