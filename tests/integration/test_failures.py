"""What is still broken: a bot's latest real outcome counts, of bots that exist, grouped by code."""

from __future__ import annotations

import csv
import io
import json

import pytest

from bench.plans import explained
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from worker.db import outcomes


def still_broken(fleet: Fleet) -> dict[str, str]:
    with fleet.engine.connect() as connection:
        found = list(outcomes.each(connection, "failures"))
        assert sum(outcomes.counts(connection).by_code.values()) == len(found)
        grouped = outcomes.groups(connection, "failures")
    assert sum(group.bots for group in grouped) == len({one.bot_id for one in found}) == len(found)
    return {one.bot_id: f"{one.run_id} {one.code}" for one in found}


def spoil_draft(fleet: Fleet, bot_id: str) -> None:
    graph = fleet.drafts()[bot_id]
    graph["nodes"][2]["data"]["prompt_template"] = "something else"
    fleet.set_draft(bot_id, graph)


def test_the_latest_conversion_counts_and_a_dry_run_does_not(fleet: Fleet) -> None:
    fleet.add("a", a_broken_workflow())
    fleet.add("b", a_broken_workflow())
    fleet.add("c", a_workflow())
    fleet.run()
    fleet.change("a", a_workflow())
    fleet.change("c", a_broken_workflow())
    fleet.run(dry_run=True)
    assert still_broken(fleet) == {"a": "1 invalid_config", "b": "1 invalid_config"}
    fleet.run(bot_ids=("a", "c"))
    assert still_broken(fleet) == {"b": "1 invalid_config", "c": "3 invalid_config"}
    fleet.change("b", {"nodes": []})
    fleet.run(retry_of=1)
    assert still_broken(fleet) == {"b": "4 no_nodes", "c": "3 invalid_config"}


def test_bots_that_are_gone_or_skipped_since_are_not_broken(fleet: Fleet) -> None:
    for bot_id in ("gone", "empty"):
        fleet.add(bot_id, a_broken_workflow())
    fleet.run()
    fleet.execute("DELETE FROM bots WHERE bot_id = 'gone'")
    assert still_broken(fleet) == {"empty": "1 invalid_config"}
    fleet.execute("UPDATE bots SET workflow = NULL")
    fleet.run(bot_ids=("empty",))
    assert still_broken(fleet) == {}


def test_a_validation_that_failed_counts_until_one_passes(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    good = fleet.drafts()["a"]
    spoil_draft(fleet, "a")
    fleet.run(kind="validate", of_run=1)
    assert still_broken(fleet) == {"a": "2 parity_mismatch"}
    fleet.set_draft("a", good)
    fleet.run(kind="validate", of_run=1)
    assert still_broken(fleet) == {}


def test_a_run_that_neither_writes_nor_tries_drafts_says_nothing_of_a_bot(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    good = fleet.drafts()["a"]
    spoil_draft(fleet, "a")
    fleet.run(kind="validate", of_run=1)
    fleet.set_draft("a", good)
    fleet.run(kind="validate", of_run=1)
    assert still_broken(fleet) == {}
    fleet.execute("ALTER TABLE flowshift.runs DROP CONSTRAINT runs_kind_known")

    fleet.execute("UPDATE flowshift.runs SET kind = 'other' WHERE run_id = 3")
    assert still_broken(fleet) == {"a": "2 parity_mismatch"}, "it takes nothing back"

    fleet.execute("UPDATE flowshift.runs SET kind = 'other' WHERE run_id = 2")
    assert still_broken(fleet) == {}, "it adds nothing"


def test_a_validation_takes_no_failed_conversion_back(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    good = fleet.drafts()["a"]
    fleet.change("a", a_broken_workflow())
    fleet.run()
    fleet.change("a", a_workflow())
    fleet.run(kind="validate", of_run=1)
    assert still_broken(fleet) == {"a": "2 invalid_config"}
    spoil_draft(fleet, "a")
    fleet.run(kind="validate", of_run=1)
    assert still_broken(fleet) == {"a": "2 invalid_config"}  # once, by what matters first
    fleet.set_draft("a", good)
    fleet.run()
    assert still_broken(fleet) == {}


def test_a_validation_that_finds_no_draft_says_nothing(fleet: Fleet) -> None:
    fleet.add("a", a_broken_workflow())
    fleet.run()
    fleet.run(kind="validate", bot_ids=("a",))
    assert fleet.outcomes(2) == {"a": "skipped no_draft"}
    assert still_broken(fleet) == {"a": "1 invalid_config"}


def test_failures_groups_by_code_with_two_examples_and_what_to_do(
    flowshift: Run, fleet: Fleet
) -> None:
    assert flowshift("failures") == (0, "no failures over the fleet\n", "")
    for number in range(3):
        fleet.add(f"bad-{number}", a_broken_workflow())
    fleet.add("-none", {"nodes": []})
    fleet.run()
    fleet.run(dry_run=True)  # the latest run
    code, out, _ = flowshift("failures")
    assert code == 1
    assert "invalid_config  3 bots\n  A node's setting is out of bounds" in out
    assert "    bad-0  run 1: node 'llm': temperature must be" in out
    assert "    … and 1 more\n" in out
    assert "  next: Set the value that the message names" in out
    assert out.endswith("4 bots failed over the fleet; all of them: flowshift failures --csv\n")
    assert flowshift("failures", "--fleet")[1] == out
    assert "no_nodes  1 bot" in flowshift("failures", "1", "--code", "no_nodes")[1]
    assert flowshift("failures", "1", "--code", "cycle")[0] == 0
    code, out, _ = flowshift("status")
    assert "still failed: 4 bots (invalid_config 3, no_nodes 1): flowshift failures" in out
    told = json.loads(flowshift("status", "--json")[1])
    assert told["open_failures"] == {"invalid_config": 3, "no_nodes": 1}


def test_failures_as_json_and_csv_have_every_bot(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("=1+1", a_broken_workflow())
    fleet.add("b\n,\u202e", {"nodes": []})
    fleet.run()
    code, out, _ = flowshift("failures", "--json")
    assert code == 1
    told = json.loads(out)
    assert told["run_id"] is None
    assert [(group["code"], group["bots"]) for group in told["bots_by_code"]] == [
        ("invalid_config", 1),
        ("no_nodes", 1),
    ]
    assert [one["bot_id"] for one in told["failures"]] == ["=1+1", "b\n,\u202e"]
    code, out, _ = flowshift("failures", "1", "--csv")
    assert code == 1
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["bot_id"] for row in rows] == ["'=1+1", "b\\n,\\u202e"]
    assert {row["run_id"] for row in rows} == {"1"}
    assert flowshift("failures", "--code", "cycle", "--csv")[0] == 0


def test_warnings_are_those_of_the_latest_conversion(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow(prompt="{query} {question}"))
    fleet.add("b", a_workflow(prompt="{query}"))
    fleet.run()
    fleet.change("a", a_workflow())
    fleet.run(bot_ids=("a",))
    fleet.run(kind="validate", of_run=1)
    code, out, _ = flowshift("warnings")
    assert code == 0
    assert "query_placeholder  1 bot" in out
    assert "b  run 1 'llm': " in out
    told = json.loads(flowshift("warnings", "1", "--json")[1])
    assert [one["bot_id"] for one in told["warnings"]] == ["a", "b"]
    assert flowshift("warnings", "--code", "no_llm")[1] == "no warnings over the fleet\n"
    assert "'llm'" not in flowshift("warnings", "--csv")[1].splitlines()[0]


@pytest.mark.parametrize("command", ["failures", "warnings"])
def test_what_cannot_be_asked_for_exits_with_2(flowshift: Run, fleet: Fleet, command: str) -> None:
    assert flowshift(command, "7")[0] == 2
    assert flowshift(command, "7", "--fleet")[0] == 2
    assert flowshift(command, "--csv", "--json")[0] == 2
    assert flowshift(command, "--code", "none")[0] == 2


def test_no_row_of_the_ledger_is_read_for_what_a_run_that_publishes_nothing_did_not_publish(
    fleet: Fleet,
) -> None:
    fleet.add("broken", a_broken_workflow())
    fleet.run()

    with explained(fleet.current.engine) as plans, fleet.current.engine.connect() as connection:
        found = outcomes.page(connection, 1, limit=10)

    [plan] = [one.text for one in plans if "'skipped'" in one.text]
    gated = plan.split("One-Time Filter", 1)[1]
    assert "never executed" in gated
    assert [one.bot_id for one in found] == ["broken"]
