"""Whether a pinned dependency has a known vulnerability: `make audit`, part of `make check`.

pip-audit asks a service on the internet (OSV), which not every machine can reach. What could not be
asked is said, and fails nothing; a vulnerability that the service knows of does.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

PINS = Path(__file__).parents[1] / "constraints.txt"
SERVICE = "https://api.osv.dev/v1/query"
PATIENCE_S = 120

_AWAY = re.compile(r"ConnectionError|ServiceError|Timeout|SSLError|ProxyError|HTTPError")


class Vulnerability(msgspec.Struct, frozen=True):
    """One that the service knows of, and the versions without it."""

    id: str
    fix_versions: tuple[str, ...] = ()


class Audited(msgspec.Struct, frozen=True):
    """What pip-audit found for one dependency, or why it asked nothing."""

    name: str
    version: str = ""
    vulns: tuple[Vulnerability, ...] = ()
    skip_reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What pip-audit prints."""

    dependencies: tuple[Audited, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; the exit code is 1 for a vulnerability, 2 if the audit itself is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pins", type=Path, default=PINS)
    parser.add_argument("--service", default=SERVICE, help="a URL that speaks OSV's protocol")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds for all of it")
    given = parser.parse_args(arguments)
    try:
        done = _pip_audit(given.pins, given.service, given.patience)
    except subprocess.TimeoutExpired:
        return _not_audited(f"no answer within {given.patience:g} s")
    try:
        report = msgspec.json.decode(done.stdout, type=Report)
    except msgspec.DecodeError:
        if _AWAY.search(done.stderr):
            return _not_audited(done.stderr.strip().splitlines()[-1][:300])
        sys.stderr.write(done.stderr)
        return 2
    return _tell(report)


def _pip_audit(pins: Path, service: str, patience_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"]
    command += ["--requirement", str(pins), "--format", "json", "--progress-spinner", "off"]
    command += ["--vulnerability-service", "osv", "--osv-url", service, "--timeout", "10"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience_s)


def _not_audited(why: str) -> int:
    sys.stdout.write(f"NOT AUDITED: the vulnerability service could not be asked ({why})\n")
    return 0


def _tell(report: Report) -> int:
    for each in report.dependencies:
        if each.skip_reason:
            sys.stdout.write(f"NOT AUDITED: {each.name}: {each.skip_reason}\n")
        for known in each.vulns:
            mended = ", ".join(known.fix_versions) or "none yet"
            sys.stdout.write(f"{each.name} {each.version}: {known.id} (mended in: {mended})\n")
    audited = [each for each in report.dependencies if not each.skip_reason]
    bad = sum(bool(each.vulns) for each in audited)
    sys.stdout.write(f"{len(audited)} dependencies audited, {bad} with known vulnerabilities\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
