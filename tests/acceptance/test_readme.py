"""The sample of output in README.md is what the demo prints, figures aside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.live import Environment, flowshift
from worker.settings import Settings

pytestmark = pytest.mark.acceptance

README = Path(__file__).parents[2] / "README.md"


def shape(line: str) -> str:
    """A line without its figures, the place of its data, and the width of its columns."""
    line = re.sub(r"(data directory ).*", r"\1PATH", line)
    line = re.sub(r"^sample-\d+", "sample-ID", line)
    return " ".join(re.sub(r"\d[\d,.]*", "0", line).split())


def documented() -> list[str]:
    _, _, after = README.read_text(encoding="utf-8").partition(
        "tests/acceptance/test_readme.py -->"
    )
    block = after.partition("```text\n")[2].partition("\n```")[0]
    return [line for line in block.splitlines() if line.strip()]


def test_the_readme_shows_what_the_demo_prints(
    environment: Environment, settings: Settings
) -> None:
    owner = environment | {"FLOWSHIFT_DATABASE_URL": settings.database_url}
    ended = flowshift(owner, "demo", "--bots", "200", "--exit", timeout_s=250)
    assert ended.returncode == 0, ended.stderr
    printed = [shape(line) for line in ended.stdout.splitlines() if line.strip()]

    at, skips = 0, False
    assert len(documented()) > 15
    for line in documented():
        if line == "…":
            skips = True
            continue
        wanted = shape(line.removesuffix("…"))
        whole = not line.endswith("…")
        here = range(at, len(printed)) if skips else range(at, min(at + 1, len(printed)))
        fits = [
            i for i in here if printed[i] == wanted or (not whole and printed[i].startswith(wanted))
        ]
        assert fits, f"{line!r} is not printed; instead {printed[at : at + 3]}"
        at, skips = fits[0] + 1, False
