"""The platform's own validator and engine, asked about every draft of a run."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.forks import in_fork
from tests.integration.conftest import Run
from tests.queues import TestQueue
from worker import app, runtime
from worker.core.parity.word import Check, Messages
from worker.errors import ConfigError, TransientError
from worker.platform.platform import Platform
from worker.runtime import Runtime
from worker.steps import start
from worker.steps.request import Request

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-platform"

Connect = Callable[..., Fleet]


@pytest.fixture
def connect(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Connect a program to the fleet's runs: `acme_platform`, changed by the lines given."""
    opened: list[Runtime] = []

    def connect_one(*lines: str, check: bool = True, engine: bool = False, **values: Any) -> Fleet:
        code = "\n".join(["from acme_platform import __main__, engine, validator", *lines])
        command = shlex.join([sys.executable, "-c", f"{code}\n__main__.main()"])
        monkeypatch.setenv("PYTHONPATH", str(EXAMPLE))
        settings = msgspec.structs.replace(
            fleet.current.settings,
            platform_check=command if check else "",
            platform_engine=command if engine else "",
            **values,
        )
        opened.append(Runtime(settings, fleet.current.servers))
        return Fleet(opened[-1])

    yield connect_one
    for one in opened:
        one.close()


def message(fleet: Fleet, bot_id: str) -> str:
    rows = fleet.rows(
        "SELECT message FROM flowshift.ledger WHERE bot_id = :bot_id ORDER BY run_id DESC LIMIT 1",
        bot_id=bot_id,
    )
    return str(rows[0].message)


REFUSES_B = (
    "judge = validator.objections",
    "def objections(graph):",
    "    refused = 'no!' in str(graph)",
    "    return ['I do not like this', 'nor \\x1b[2Jthat'] if refused else judge(graph)",
    "validator.objections = objections",
)


def test_a_platform_is_asked_about_drafts_that_a_run_before_it_made(
    fleet: Fleet, connect: Connect
) -> None:
    fleet.add("b", a_workflow("no! {question}"))
    fleet.run(validate="none")

    progress = connect(*REFUSES_B).run(validate="none")

    assert fleet.outcomes(progress.run_id) == {"b": "failed platform_refused"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_draft_that_the_platform_refuses_fails_its_bot_alone_in_the_platforms_words(
    connect: Connect, dry_run: bool
) -> None:
    fleet = connect(*REFUSES_B)
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("no! {question}"))
    fleet.add("c", a_broken_workflow())
    fleet.add("d", None)

    progress = fleet.run(dry_run=dry_run)

    assert fleet.outcomes(progress.run_id) == {
        "a": "converted",
        "b": "failed platform_refused",
        "c": "failed invalid_config",
        "d": "skipped no_workflow",
    }
    assert message(fleet, "b") == (
        "the platform refuses the draft: I do not like this; nor \\x1b[2Jthat"
    )
    assert set(fleet.drafts()) == (set() if dry_run else {"a"})
    assert set(fleet.backups()) == (set() if dry_run else {"a"})


def test_a_platform_that_takes_every_draft_changes_nothing_of_a_run(connect: Connect) -> None:
    fleet = connect(engine=True)
    fleet.add_many(120)

    progress = fleet.run(batch_size=50)

    assert (progress.counts.converted, progress.counts.validated) == (120, 120)
    assert fleet.run().counts.unchanged == 120


def test_a_draft_over_which_the_validator_crashes_fails_its_bot_and_the_batch_goes_on(
    connect: Connect,
) -> None:
    fleet = connect(
        "import os",
        "validator.objections = lambda graph: os._exit(9) if 'no!' in str(graph) else []",
    )
    fleet.add_many(10)
    fleet.add("crash", a_workflow("no! {question}"))

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id)["crash"] == "failed platform_refused"
    assert message(fleet, "crash") == (
        "the platform's validator gave no answer about the draft: it exited with code 9"
    )
    assert progress.counts.converted == 10


def test_a_draft_over_which_the_validator_hangs_fails_its_bot(connect: Connect) -> None:
    fleet = connect(
        "import time",
        "validator.objections = lambda graph: time.sleep(600 * ('no!' in str(graph))) or []",
        platform_timeout_s=1,
    )
    fleet.add("a", a_workflow())
    fleet.add("hang", a_workflow("no! {question}"))

    run_id = fleet.run().run_id

    assert fleet.outcomes(run_id) == {"a": "converted", "hang": "failed platform_refused"}
    assert message(fleet, "hang").endswith("it gave no answer for 1 s")


def test_a_draft_that_the_platforms_engine_runs_otherwise_is_a_mismatch(connect: Connect) -> None:
    fleet = connect(
        "engine_run = engine.run",
        "engine.run = lambda *a: engine_run(*a) + '?' * ('no!' in str(a[0]))",
        check=False,
        engine=True,
    )
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("no! {question}"))

    run_id = fleet.run().run_id

    assert fleet.outcomes(run_id) == {"a": "converted", "b": "failed parity_mismatch"}
    assert ": the platform's engine differs: the answer is 'gpt-4: no!" in message(fleet, "b")
    assert fleet.progress(run_id).counts.validated == 1


def test_an_engine_that_makes_another_call_is_a_mismatch(connect: Connect) -> None:
    fleet = connect(
        "retrieve = __main__.Providers.retrieve",
        "__main__.Providers.retrieve = lambda p, q, k, ids: retrieve(p, q + '!', k, ids)",
        check=False,
        engine=True,
    )
    fleet.add("a", a_workflow())

    assert fleet.outcomes(fleet.run().run_id) == {"a": "failed parity_mismatch"}
    assert "the platform's engine differs: the query of a search is" in message(fleet, "a")


def test_an_engine_that_fails_where_v1_answers_is_said_in_its_words(connect: Connect) -> None:
    fleet = connect("engine.run = None", check=False, engine=True)
    fleet.add("a", a_workflow())

    assert fleet.outcomes(fleet.run().run_id) == {"a": "failed execution_failed"}
    assert message(fleet, "a").endswith(
        "the platform's engine failed: TypeError: 'NoneType' object is not callable"
    )


def test_a_validation_asks_about_the_drafts_that_are_there(fleet: Fleet, connect: Connect) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("no! {question}"))
    fleet.run()
    connected = connect(*REFUSES_B, engine=True)

    progress = connected.run(kind="validate", bot_ids=("a", "b"))

    assert connected.outcomes(progress.run_id) == {
        "a": "unchanged",
        "b": "failed platform_refused",
    }
    assert set(fleet.drafts()) == {"a", "b"}


def test_a_platform_that_breaks_over_everything_postpones_the_batch_and_blames_no_bot(
    connect: Connect,
) -> None:
    fleet = connect("import os", "validator.objections = lambda graph: os._exit(9)")
    fleet.add_many(20)
    run = fleet.planned()

    with pytest.raises(TransientError, match="breaks over every draft: it exited with code 9"):
        fleet.convert(run.run_id, 1)

    assert fleet.outcomes(run.run_id) == {}


def test_a_bot_that_changes_meanwhile_is_not_asked_about_under_its_lock(
    connect: Connect, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = connect()
    fleet.add_many(3)
    changed = False

    def changing(self: Any, asked: Any) -> Any:
        nonlocal changed
        for answer in answers(self, asked):
            if not changed:
                changed = True
                fleet.change("bot-00001", a_workflow("new {question}"))
            yield answer

    answers = Platform.answers
    monkeypatch.setattr(Platform, "answers", changing)
    run = connected.planned()
    report = connected.convert(run.run_id, 1)

    assert report.counts.converted == 2
    assert [
        tuple(row)[:2]
        for row in connected.rows(
            "SELECT number, bot_count FROM flowshift.batches WHERE state = 'pending'"
        )
    ] == [(2, 1)]
    assert connected.convert(run.run_id, 2).counts.converted == 1
    assert "new {question}" in json.dumps(connected.drafts()["bot-00001"])


# -- at the start ------------------------------------------------------------------------------


def test_a_run_is_not_started_while_the_platform_cannot_be_asked(connect: Connect) -> None:
    fleet = connect("raise SystemExit('no licence')")
    fleet.add_many(1)

    with pytest.raises(ConfigError, match=r"FLOWSHIFT_PLATFORM_CHECK: .* it says: no licence"):
        start.start_run(fleet.current, TestQueue(), Request(), requested_by="test")

    assert fleet.rows("SELECT FROM flowshift.runs") == []


def test_a_worker_asks_before_it_forks_and_no_child_inherits_the_program(connect: Connect) -> None:
    current = connect().current
    before = psutil.Process().children(recursive=True)

    app._check_platform(current)

    assert psutil.Process().children(recursive=True) == before
    with pytest.raises(ConfigError, match="does not start"):
        app._check_platform(connect("exit(4)").current)


def test_a_forked_child_starts_a_program_of_its_own(
    connect: Connect, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = connect(
        "import os", "validator.objections = lambda graph: [str(os.getppid())]"
    ).current
    monkeypatch.setattr(runtime, "_runtime", current)
    mine = guard_of(current)
    reading, writing = os.pipe()

    def ask() -> None:
        os.write(writing, f"{guard_of(runtime.runtime())}".encode())
        runtime.runtime().close()

    in_fork(ask)

    assert int(os.read(reading, 100)) != mine
    assert guard_of(current) == mine
    os.close(reading)
    os.close(writing)


def guard_of(current: Runtime) -> int:
    assert current.platform is not None
    [(_, (answer,))] = current.platform.answers([(0, (Check(b'{"nodes": [], "edges": []}'),))])
    assert isinstance(answer, Messages)
    return int(answer.messages[0])


def test_a_program_that_is_not_there_is_said_with_its_setting(connect: Connect) -> None:
    fleet = connect(check=False)
    settings = msgspec.structs.replace(fleet.current.settings, platform_engine="no-such-program x")

    with pytest.raises(ConfigError) as raised:
        _ = Runtime(settings, fleet.current.servers).echo

    assert str(raised.value) == (
        "FLOWSHIFT_PLATFORM_ENGINE: there is no program 'no-such-program' that can be run here"
    )


def test_db_check_says_whether_the_platform_answers(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE))
    monkeypatch.setenv("FLOWSHIFT_PLATFORM_CHECK", f"{sys.executable} -m acme_platform")
    code, out, _ = flowshift("db", "check")
    assert code == 0, out
    assert "the platform's validator answers: Acme 4.2 (`" in out

    monkeypatch.setenv("FLOWSHIFT_PLATFORM_CHECK", f"{sys.executable} -c exit(4)")
    code, out, _ = flowshift("db", "check")
    assert code == 3
    assert "does not start: it exited with code 4" in out.replace("\n", " ")
