"""axe-core, which says where a page shuts people out: fetched once by npm, pinned by its hash."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
CACHE = Path.home() / ".cache" / "flowshift-tests" / f"axe-core-{VERSION}.js"


def source() -> str | None:
    """The script, None where there is no npm or it reaches no registry."""
    if not CACHE.is_file():
        try:
            CACHE.parent.mkdir(parents=True, exist_ok=True)
            CACHE.write_bytes(_fetched())
        except (OSError, KeyError, subprocess.SubprocessError, tarfile.TarError):
            return None
    content = CACHE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256, f"{CACHE} is not axe-core {VERSION}"
    return content.decode()


def _fetched() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            ["npm", "pack", "--silent", f"axe-core@{VERSION}"],
            cwd=place,
            check=True,
            capture_output=True,
            timeout=60,
        )
        (packed,) = Path(place).glob("*.tgz")
        with tarfile.open(packed) as archive:
            script = archive.extractfile("package/axe.min.js")
            assert script is not None
            return script.read()
