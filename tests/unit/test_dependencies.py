"""The pins: complete, hashed and right for what pyproject.toml asks; and their audit."""

from __future__ import annotations

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import audit

PROJECT = tomllib.loads((audit.PINS.parent / "pyproject.toml").read_text())
ASKED = [
    *PROJECT["project"]["dependencies"],
    *(line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines),
    *PROJECT["dependency-groups"]["dev"],
    *PROJECT["build-system"]["requires"],
]


def entries() -> list[str]:
    """The requirements of the file, each with what belongs to it on one line."""
    text = audit.PINS.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def pins() -> dict[str, list[Requirement]]:
    """What is pinned, by name; a name may be there once for each platform."""
    found: dict[str, list[Requirement]] = {}
    for line in entries():
        pinned = Requirement(line.split(" --hash")[0].strip())
        found.setdefault(canonicalize_name(pinned.name), []).append(pinned)
    return found


def test_every_pin_is_one_version_with_hashes_and_no_place_to_get_it_from() -> None:
    for line in entries():
        assert re.match(r"[A-Za-z0-9._\[\],-]+==[^*\s]+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", line), line
        assert not re.search(r"--hash=(?!sha256:[0-9a-f]{64}\b)", line), line
        assert "://" not in line


def test_everything_asked_for_is_pinned_with_all_that_it_needs() -> None:
    pinned = pins()
    waiting, seen = [Requirement(line) for line in ASKED], set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if str(asked) in seen:
            continue
        seen.add(str(asked))
        here = [pin for pin in pinned.get(name, []) if not pin.marker or pin.marker.evaluate()]
        assert len(here) == 1, f"{asked} is pinned {len(here)} times: make constraints"
        [version] = here[0].specifier
        assert asked.specifier.contains(version.version, prereleases=True), f"{asked}: {here[0]}"
        waiting += needs(name, asked.extras)
    assert len(seen) > 60


def needs(name: str, extras: set[str]) -> Iterator[Requirement]:
    """What an installed package needs here, with these extras."""
    for line in metadata.requires(name) or ():
        needed = Requirement(line)
        environments = [{"extra": extra} for extra in (*extras, "")]
        if needed.marker is None or any(needed.marker.evaluate(each) for each in environments):
            yield needed


class _Osv(BaseHTTPRequestHandler):
    """A service that speaks OSV's protocol and knows of one vulnerability, in `flower`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        assert asked["version"]
        known = {
            "id": "PYSEC-0000-1",
            "summary": "it is open",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [
                        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
                    ],
                }
            ],
        }
        self.server.asked.add(name)  # type: ignore[attr-defined]
        answer = {"vulns": [known]} if name == self.server.bad else {}  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """The service on loopback, with no proxy in between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Osv) as server:
        server.asked, server.bad = set(), ""  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1/query"


def test_the_audit_asks_about_every_pin_and_passes_where_nothing_is_known(
    osv: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(["--service", address(osv)]) == 0

    told = capsys.readouterr().out
    assert "NOT AUDITED" not in told
    asked = osv.asked  # type: ignore[attr-defined]
    applicable = {
        n for n, found in pins().items() if any(not p.marker or p.marker.evaluate() for p in found)
    }
    assert asked == applicable


def test_a_known_vulnerability_fails_the_audit_and_is_named(
    osv: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    osv.bad = "flower"  # type: ignore[attr-defined]
    assert audit.main(["--service", address(osv)]) == 1

    told = capsys.readouterr().out
    assert re.search(r"^flower \S+: PYSEC-0000-1 \(mended in: 99\)$", told, re.MULTILINE)
    assert "1 with known vulnerabilities" in told


def test_an_audit_that_cannot_ask_says_so_and_fails_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit.main(["--service", "http://127.0.0.1:9/v1/query"]) == 0
    assert capsys.readouterr().out.startswith("NOT AUDITED: ")


def test_an_audit_that_is_broken_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "pins.txt"
    broken.write_text("flower\n")
    assert audit.main(["--pins", str(broken)]) == 2
    assert capsys.readouterr().err
