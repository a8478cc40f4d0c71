"""The steps of a run: load → core → save → commit → publish. A task is one step."""
