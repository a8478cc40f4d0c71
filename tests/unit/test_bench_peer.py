"""The peer does what a plain script does: for plain workflows its drafts do what V1 did."""

from __future__ import annotations

import json
import time

import pytest

from bench.peer import RefusedError, convert
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.parity.compare import compare
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.errors import BotError
from worker.providers.echo import Echo
from worker.sample import sample_bots

MESSAGE = "환불은 언제 되나요?"


def agrees(workflow: bytes) -> bool:
    """Whether the peer's draft of a workflow does what V1 does."""
    graph = json.dumps(convert(json.loads(workflow))).encode()
    traces = (
        v1_engine.execute(
            v1_engine.prepare(v1.decode(workflow, Defaults())),
            MESSAGE,
            Echo(),
            clock=time.monotonic,
        ),
        v2_engine.execute(GUIDE.decode(graph), MESSAGE, Echo(), clock=time.monotonic),
    )
    return compare(*traces).same is True


def converts(workflow: bytes) -> bool:
    try:
        convert_text(workflow, Defaults())
    except BotError:
        return False
    return True


def test_six_of_ten_of_its_drafts_do_what_v1_does_and_they_are_nearly_as_large_as_ours() -> None:
    plain = [bot.workflow for bot in sample_bots(300) if bot.workflow and converts(bot.workflow)]
    assert len(plain) > 200
    assert 0.55 < sum(agrees(workflow) for workflow in plain) / len(plain) < 0.65
    ours = sum(len(convert_text(workflow, Defaults()).graph) for workflow in plain)
    theirs = sum(
        len(
            json.dumps(convert(json.loads(one)), separators=(",", ":"), ensure_ascii=False).encode()
        )
        for one in plain
    )
    assert 0.85 * ours < theirs < ours


def test_it_refuses_what_it_cannot_go_on_with() -> None:
    broken = {int(bot.bot_id[-2:]): bot.workflow for bot in sample_bots(100) if bot.workflow}
    for kind in (90, 91, 92, 94, 95):
        with pytest.raises(RefusedError):
            convert(json.loads(broken[kind]))
