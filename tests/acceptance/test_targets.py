"""The demo on a platform of each target, with live workers."""

from __future__ import annotations

import pytest

from tests.live import Environment, flowshift
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


def test_the_demo_of_the_target_answer_converts_everything_and_is_recognised_the_next_time(
    environment: Environment, settings: Settings
) -> None:
    owner = environment | {"FLOWSHIFT_DATABASE_URL": settings.database_url}

    first = flowshift(owner, "demo", "--bots", "200", "--exit", "--target", "answer")

    assert first.returncode == 0, first.stderr
    assert "target answer: --target says so\n" in first.stdout
    assert "parity     184 of 184 drafts do what V1 does" in first.stdout
    assert "answer-1.final_output" in first.stdout
    assert "V1 and the draft (target answer)" in first.stdout

    second = flowshift(owner, "demo", "--bots", "200", "--exit")

    assert second.returncode == 0, second.stderr
    unchanged = next(line for line in second.stdout.splitlines() if line.startswith("unchanged"))
    assert int(unchanged.split()[1]) == 184
    (why,) = [line for line in second.stdout.splitlines() if line.startswith("target answer: ")]
    assert "2 of 2 published graphs have a node of type answer" in why
    validated = flowshift(owner, "validate", "2", "--json")
    assert validated.returncode == 0, validated.stderr
