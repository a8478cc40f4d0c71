"""Where documents and answers come from: what an execution is plugged into (design section 4)."""
