"""`show` and `versions`: what answers a bot now, its proof, its publications, its last rollback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.publishing import Publishing

BOT = "bot-00000"


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Two bots with proven drafts, in one wave of a publication that is publishing."""
    fleet.add_many(2)
    fleet.run(validate="sample:1")
    made = Publishing(fleet)
    made.plan()
    return made


def shown(flowshift: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(flowshift("show", BOT, "--json")[1])
    return found


def lines(flowshift: Run, command: str = "show") -> str:
    return " ".join(flowshift(command, BOT)[1].split())


def test_before_its_wave_v1_answers_and_the_draft_is_proven(
    publishing: Publishing, flowshift: Run
) -> None:
    found = shown(flowshift)
    assert found["answers"]["what"] == "v1"
    assert (found["proof"]["run_id"], found["proof"]["is_draft"]) == (1, True)
    assert [(one["publication_id"], one["state"]) for one in found["publications"]] == [
        (1, "pending")
    ]
    assert found["taken_back"] is None
    said = lines(flowshift)
    assert "runs V1" in said
    assert "proven by run 1" in said
    assert "the draft is that content" in said
    assert "publication 1, wave 1" in said


def test_what_changed_since_the_proof_is_said(publishing: Publishing, flowshift: Run) -> None:
    publishing.fleet.change(BOT, a_workflow("other {question}"))
    assert "V1 has changed since" in lines(flowshift)
    publishing.fleet.set_draft(BOT, {"nodes": [{"id": "mine", "type": "start"}], "edges": []})
    assert "the draft has changed since" in lines(flowshift)


def test_a_published_bot_runs_our_version_and_its_proof_is_that_content(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    found = shown(flowshift)
    assert found["answers"] == {
        "what": "publication",
        "version": "v1.0",
        "publication_id": 1,
        "wave": 1,
        "agrees": True,
    }
    assert (found["proof"]["is_draft"], found["proof"]["versions"]) == (False, ["v1.0"])
    assert "runs v1.0 (publication 1, wave 1)" in lines(flowshift)
    assert "v1.0 is that content" in lines(flowshift)
    listed = json.loads(flowshift("versions", BOT, "--json")[1])
    ours = next(one for one in listed["versions"] if one["version"] == "v1.0")
    assert (ours["is_live"], ours["publication_id"], ours["wave"], ours["publication_state"]) == (
        True,
        1,
        1,
        "published",
    )
    assert "1, wave 1" in lines(flowshift, "versions")


def test_a_skipped_bot_says_its_code_and_message(publishing: Publishing, flowshift: Run) -> None:
    publishing.fleet.execute("DELETE FROM flowshift.proofs")
    publishing.publish()
    part = shown(flowshift)["publications"][0]
    assert (part["state"], part["code"]) == ("skipped", "not_proven")
    assert "skipped not_proven: no execution of a draft" in lines(flowshift)
    assert "proven by" not in lines(flowshift)


def test_after_a_rollback_it_says_who_and_why(publishing: Publishing, flowshift: Run) -> None:
    publishing.publish()
    flowshift("rollback", "--publication", "1", "--yes", "--reason", "complaints")
    last = shown(flowshift)["taken_back"]
    assert (last["publication_id"], last["state"], last["reason"]) == (
        1,
        "rolled_back",
        "publication 1: complaints",
    )
    assert last["actor"]
    said = lines(flowshift)
    assert "runs V1" in said
    assert "rolled back v1.0" in said
    assert "last taken back" in said
    assert "publication 1: complaints" in said


def test_what_was_changed_outside_is_said_not_guessed(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    fleet = publishing.fleet
    fleet.execute("UPDATE bots SET use_workflow_v2 = false")
    assert shown(flowshift)["answers"]["agrees"] is False
    assert "publication 1 counts v1.0 as live" in lines(flowshift)
    assert "publication 1 counts v1.0 as live" in lines(flowshift, "versions")
    fleet.execute("UPDATE bots SET use_workflow_v2 = true")
    fleet.add_version(BOT, "v1.1", "published")
    assert "runs v1.1, which flowshift did not publish" in lines(flowshift)
    assert "runs v1.1, which flowshift did not publish" in lines(flowshift, "versions")


def test_a_bot_that_was_flagged_again_by_hand_is_said_to_be(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    flowshift("rollback", "--all", "--yes")
    publishing.fleet.execute("UPDATE bots SET use_workflow_v2 = true")
    assert "use_workflow_v2 was set outside flowshift" in lines(flowshift)


def test_many_publications_are_cut_in_print_and_whole_in_json(
    publishing: Publishing, flowshift: Run
) -> None:
    for number in range(2, 10):
        publishing.plan(BOT, publication_id=number, state="planned")
    assert "… and 4 more publications" in lines(flowshift)
    assert len(shown(flowshift)["publications"]) == 9
