"""pg_dump and pg_restore with something of a test's own before or in place of them."""

from __future__ import annotations

from pathlib import Path

from worker.servers.embedded.binaries import find_binaries

REAL = find_binaries().initdb.parent


def tools(directory: Path, *, pg_dump: str = "", pg_restore: str = "", major: int = 0) -> Path:
    """A directory with both programs; each runs its lines of shell first, with the real one as $REAL.

    `major` is the version that they claim to be of; 0: the real one.
    """
    directory.mkdir()
    for name, lines in (("pg_dump", pg_dump), ("pg_restore", pg_restore)):
        real = REAL / name
        version = f'echo "{name} (PostgreSQL) {major}.0"' if major else f"{real} --version"
        program = directory / name
        program.write_text(
            f'#!/bin/sh\nREAL={real}\nif [ "$1" = --version ]; then {version}; exit 0; fi\n'
            f'{lines}\nexec "$REAL" "$@"\n'
        )
        program.chmod(0o755)
    return directory
