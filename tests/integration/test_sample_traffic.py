"""The sample's traffic answers as the platform does: by the flag and the live version, with its rows."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet, a_workflow
from tests.publishing import Publishing
from worker.core.targets.registry import TARGETS
from worker.db.publication.rolling import Which
from worker.steps.publication import rollback
from worker.steps.sample_traffic import SICK, Answers, SampleTraffic

BOTS = ["bot-1", "bot-2", "bot-3"]


@pytest.fixture(params=["guide", "answer"])
def publishing(fleet: Fleet, request: pytest.FixtureRequest) -> Publishing:
    """Three bots whose drafts are proven, the first two of them to be published."""
    for bot_id in BOTS:
        fleet.add(bot_id, a_workflow())
    fleet.run(validate="all", target=request.param)
    publishing = Publishing(fleet)
    publishing.plan(*BOTS[:2])
    return publishing


@pytest.fixture
def traffic(publishing: Publishing) -> SampleTraffic:
    """Users of these bots, of which the second is sick."""
    target = TARGETS[publishing.fleet.get(1).options.target]
    return SampleTraffic(publishing.fleet.current, target, [BOTS[1]])


EXECUTED = """
    SELECT e.bot_id, v.version, e.status, e.error_message AS error, e.outputs,
           e.graph_snapshot = v.graph AS same,
           jsonb_array_length(v.graph -> 'nodes') AS all_nodes,
           (SELECT count(*) FROM workflow_node_executions n WHERE n.workflow_run_id = e.id) AS nodes
    FROM workflow_execution_runs e JOIN bot_workflow_versions v ON v.id = e.workflow_version_id
    WHERE e.session_id NOT LIKE 'flowshift:%' ORDER BY e.created_at, e.bot_id
"""


def test_v1_leaves_no_execution_and_v2_one_of_its_live_version(
    publishing: Publishing, traffic: SampleTraffic
) -> None:
    assert traffic.send(BOTS) == Answers(v1=3)
    assert publishing.fleet.rows(EXECUTED) == []

    publishing.publish()
    assert traffic.send(BOTS) == Answers(v1=1, v2=1, failed=1)

    well, sick = publishing.fleet.rows(EXECUTED)
    assert (well.bot_id, well.version, well.status, well.error) == (
        BOTS[0],
        "v1.0",
        "succeeded",
        None,
    )
    assert well.same
    assert well.nodes == well.all_nodes >= 4
    assert next(iter(well.outputs.values())).startswith("gpt-4: ")
    assert (sick.bot_id, sick.version, sick.status, sick.same) == (BOTS[1], "v1.0", "failed", True)
    assert SICK in sick.error


def test_after_a_rollback_v1_answers_the_sick_bots_users_too(
    publishing: Publishing, traffic: SampleTraffic
) -> None:
    publishing.publish()
    traffic.send(BOTS)
    current = publishing.fleet.current
    rollback.roll_back(
        current,
        Which(bot_ids=None, publication_id=1, wave=None),
        digest=None,
        actor="me",
        reason=None,
        show=lambda _: None,
    )

    assert traffic.send(BOTS) == Answers(v1=3)
    assert len(publishing.fleet.rows(EXECUTED)) == 2


def test_of_two_published_versions_the_newest_answers(
    publishing: Publishing, traffic: SampleTraffic
) -> None:
    publishing.publish()
    publishing.fleet.execute(
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph, published_at)"
        " SELECT gen_random_uuid(), bot_id, 'v7', 'published', graph, now() + interval '1 hour'"
        " FROM bot_workflow_versions WHERE bot_id = 'bot-1' AND version = 'v1.0'"
    )
    traffic.send(BOTS)
    assert publishing.fleet.rows(EXECUTED)[0].version == "v7"


def test_a_bot_that_has_no_version_to_answer_with_fails_and_leaves_no_execution(
    publishing: Publishing, traffic: SampleTraffic
) -> None:
    publishing.fleet.execute("UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-3'")
    assert traffic.send(BOTS) == Answers(v1=2, failed=1)
    assert publishing.fleet.rows(EXECUTED) == []
