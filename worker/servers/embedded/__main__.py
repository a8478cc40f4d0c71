"""`python -m worker.servers.embedded <data_dir> [<fd of the held guardian.lock>]`: the guardian."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.servers.embedded.guardian import main

if __name__ == "__main__":
    main(Path(sys.argv[1]), lock_fd=int(sys.argv[2]) if len(sys.argv) > 2 else None)
