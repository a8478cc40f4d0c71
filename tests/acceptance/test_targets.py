"""The demo on a platform of each target, with live workers."""

from __future__ import annotations

import re

import pytest

from tests.live import Environment, flowshift
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


def test_the_demo_of_the_target_answer_converts_everything_and_is_recognised_the_next_time(
    environment: Environment, settings: Settings
) -> None:
    owner = environment | {"FLOWSHIFT_DATABASE_URL": settings.database_url}

    first = flowshift(owner, "demo", "--bots", "200", "--exit", "--target", "answer", timeout_s=250)

    assert first.returncode == 0, first.stderr
    assert "target answer: --target says so\n" in first.stdout
    assert "parity     184 of 184 drafts do what V1 does" in first.stdout
    assert "answer-1.final_output" in first.stdout
    assert "V1 and the draft (target answer)" in first.stdout

    assert "users send 184 messages: V1 answered 184, V2 0, 0 failed" in first.stdout
    assert "gate: wave 4 passed: " in first.stdout
    assert "183 bots: V1 answers again" in first.stdout

    second = flowshift(owner, "demo", "--bots", "200", "--exit", timeout_s=250)

    assert second.returncode == 0, second.stderr
    # All of them were published, so that their drafts were emptied.
    converted = next(line for line in second.stdout.splitlines() if line.startswith("converted"))
    assert int(converted.split()[1]) == 184
    (why,) = [line for line in second.stdout.splitlines() if line.startswith("target answer: ")]
    assert "published graphs have a node of type answer" in why
    (run_id,) = re.findall(r"^run (\d+) completed with failures", second.stdout, re.MULTILINE)
    validated = flowshift(owner, "validate", run_id, "--json")
    assert validated.returncode == 0, validated.stderr
