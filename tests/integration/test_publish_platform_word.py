"""What the platform has and says keeps drafts from being published: its node types, its validator."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow
from tests.publishing import Publishing
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.waves import Options
from worker.errors import TransientError
from worker.runtime import Runtime
from worker.steps.batch import publish as step
from worker.steps.batch.hear import hear_platform
from worker.steps.publication import control
from worker.steps.publication.plan import Wanted, look

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-platform"

Set = Callable[..., Publishing]


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Three bots with proven drafts; b's prompt is one that the platform of these tests refuses."""
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("no! {question}"))
    fleet.add("c", a_workflow())
    fleet.run(validate="sample:1")
    return Publishing(fleet)


@pytest.fixture
def set_up(publishing: Publishing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """The same fleet with other settings, its publication begun as run 2."""
    opened: list[Runtime] = []

    def begin(**values: Any) -> Publishing:
        monkeypatch.setenv("PYTHONPATH", str(EXAMPLE))
        current = publishing.fleet.current
        settings = msgspec.structs.replace(current.settings, **values)
        opened.append(Runtime(settings, current.servers))
        control.publish(opened[-1], wanted(), request_id="r", actor="me")
        return Publishing(Fleet(opened[-1]))

    yield begin
    for one in opened:
        one.close()


def wanted(**options: Any) -> Wanted:
    return Wanted(
        run_id=1,
        steps=parse_waves("all"),
        wishes=Wishes(),
        options=Options(target="guide", **options),
    )


def validator(*lines: str) -> str:
    """A command for the platform's validator, changed by the lines given."""
    code = "\n".join(["from acme_platform import __main__, validator", *lines])
    return shlex.join([sys.executable, "-c", f"{code}\n__main__.main()"])


REFUSES_B = validator(
    "judge = validator.objections",
    "validator.objections = lambda graph: ['not this'] if 'no!' in str(graph) else judge(graph)",
)


def states(publishing: Publishing) -> dict[str, str]:
    return {bot_id: publishing.state(bot_id) for bot_id in ("a", "b", "c")}


# -- node types --------------------------------------------------------------------------------------


def test_a_draft_with_a_node_type_that_the_platform_lacks_is_not_published(set_up: Set) -> None:
    there = set_up(node_types="start, knowledge-retrieval, end")
    planned = look(there.fleet.current, wanted())
    assert planned.codes == {"node_type_missing": 3}

    there.fleet.convert(2, 1)
    assert set(states(there).values()) == {"skipped node_type_missing"}
    assert not any(there.is_live(bot_id) for bot_id in "abc")
    message = there.one("SELECT message FROM flowshift.ledger WHERE run_id = 2 AND bot_id = 'a'")
    assert message == "the platform has no node type 'llm'"


@pytest.mark.parametrize("named", ["", "start, knowledge-retrieval, llm, end"])
def test_a_platform_that_has_them_all_gets_every_bot(set_up: Set, named: str) -> None:
    there = set_up(node_types=named)
    there.fleet.convert(2, 1)
    assert set(states(there).values()) == {"published"}


def test_without_the_setting_they_are_those_that_drafts_can_have_here(
    set_up: Set, publishing: Publishing
) -> None:
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET graph = replace(graph::text, '\"knowledge-retrieval\"',"
        " '\"carrier-pigeon\"')::jsonb WHERE bot_id = 'a' AND status = 'draft'"
    )
    publishing.prove()
    there = set_up()
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET options = options || '{\"publish_edited\": true}'"
    )
    there.fleet.convert(2, 1)
    assert states(there)["a"] == "skipped node_type_missing"


# -- its validator -----------------------------------------------------------------------------------


def test_a_draft_that_the_platform_refuses_is_not_published_in_its_words(set_up: Set) -> None:
    there = set_up(platform_check=REFUSES_B)
    report = there.fleet.convert(2, 1)
    assert states(there) == {
        "a": "published",
        "b": "skipped platform_refused",
        "c": "published",
    }
    assert (report.counts.published, report.counts.skipped) == (2, 1)
    assert report.codes == {"skipped:platform_refused": 1}
    message = there.one("SELECT message FROM flowshift.ledger WHERE run_id = 2 AND bot_id = 'b'")
    assert message == "the platform refuses the draft: not this"


def test_it_is_asked_while_nothing_is_locked_and_only_about_what_could_be_published(
    set_up: Set, publishing: Publishing, tmp_path: Path
) -> None:
    """The validator itself changes a bot's row: it would wait for ever if that were locked."""
    url = sa.make_url(publishing.fleet.current.servers.database_url)
    libpq = url.set(drivername="postgresql").render_as_string(hide_password=False)
    asked = tmp_path / "asked"
    there = set_up(
        platform_check=validator(
            "import psycopg",
            "def objections(graph):",
            f"    with psycopg.connect({libpq!r}) as connection:",
            "        connection.execute('SET lock_timeout = 1000')",
            "        connection.execute('SELECT FROM bots FOR UPDATE')",
            "        connection.execute('SELECT FROM bot_workflow_versions FOR UPDATE')",
            f"    with open({str(asked)!r}, 'a') as file:",
            "        file.write('.')",
            "    return []",
            "validator.objections = objections",
        )
    )
    publishing.fleet.execute("DELETE FROM flowshift.proofs WHERE bot_id = 'c'")
    there.fleet.current.platform.capabilities()  # type: ignore[union-attr]  # which asks about a sample
    before = asked.read_text().count(".") if asked.exists() else 0
    there.fleet.convert(2, 1)
    assert states(there) == {"a": "published", "b": "published", "c": "skipped not_proven"}
    assert asked.read_text().count(".") - before == 2


def test_a_draft_that_changes_after_it_was_asked_about_comes_again(
    set_up: Set, publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = set_up(platform_check=REFUSES_B)
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET options = options || '{\"publish_edited\": true}'"
    )

    def then_edited(*given: Any) -> Any:
        heard = hear_platform(*given)
        publishing.fleet.execute(
            "UPDATE bot_workflow_versions SET graph = jsonb_set(graph, '{note}', '\"no!\"')"
            " WHERE bot_id = 'a' AND status = 'draft'"
        )
        publishing.prove("a")  # a person validated just that
        return heard

    monkeypatch.setattr(step, "hear_platform", then_edited)
    there.fleet.convert(2, 1)
    assert states(there) == {
        "a": "pending",
        "b": "skipped platform_refused",
        "c": "published",
    }
    assert not there.is_live("a")

    monkeypatch.undo()
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE))
    there.fleet.convert(2, 2)
    assert states(there)["a"] == "skipped platform_refused"


def test_while_the_platform_cannot_be_asked_nothing_is_published(set_up: Set) -> None:
    there = set_up(platform_check=f"{sys.executable} -c 'raise SystemExit(7)'")
    with pytest.raises(TransientError):
        there.fleet.convert(2, 1)
    assert set(states(there).values()) == {"pending"}
    assert there.one("SELECT count(*) FROM bots WHERE use_workflow_v2") == 0
