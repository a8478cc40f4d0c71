"""Wait for the workers that a bench has started."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from worker.app import app
from worker.errors import ConfigError

PATIENCE_S: Final = 120.0
"""How long workers may take to start."""


def wait_for_workers(log_dir: Path, count: int = 1) -> None:
    """Wait until `count` workers answer, whose logs are in `log_dir`.

    Raises:
        ConfigError: they have not within `PATIENCE_S`; it has the ends of their logs.
    """
    deadline = time.monotonic() + PATIENCE_S
    while len(app.control.ping(timeout=1.0, limit=count) or ()) < count:
        if time.monotonic() > deadline:
            said = "\n".join(path.read_text()[-500:] for path in sorted(log_dir.glob("*.log")))
            raise ConfigError(f"not all of {count} workers answered; their logs end:\n{said}")
