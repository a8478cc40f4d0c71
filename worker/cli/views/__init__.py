"""What commands print of a run, an execution and a draft: tables, bars, and the shapes of `--json`."""
