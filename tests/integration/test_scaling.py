"""What KEDA asks the database (deploy/overlays/rabbitmq-keda) is how many batches there are for workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.fleet import Fleet
from tests.roles import Role

SCALING = Path(__file__).parents[2] / "deploy" / "overlays" / "rabbitmq-keda" / "scaling.yaml"


def asked() -> str:
    """The query of the trigger."""
    scaled: dict[str, Any] = next(yaml.safe_load_all(SCALING.read_text()))
    (trigger,) = scaled["spec"]["triggers"]
    query: str = trigger["metadata"]["query"]
    return query


def test_batches_that_wait_and_those_at_work_count_and_others_do_not(
    fleet: Fleet, database: str, role: Role
) -> None:
    def counted() -> int:
        with psycopg.connect(role.url(database).replace("+psycopg", "")) as connection:
            (number,) = connection.execute(asked().encode()).fetchone() or (None,)
        assert isinstance(number, int)
        return number

    assert counted() == 0
    fleet.add_many(30)
    run = fleet.planned(batch_size=10)
    assert counted() == 3
    fleet.claim(run.run_id, 1)
    assert counted() == 3, "one at work"
    fleet.execute("UPDATE flowshift.batches SET state = 'failed' WHERE number = 2")
    assert counted() == 2
    fleet.execute("UPDATE flowshift.runs SET state = 'paused'")
    assert counted() == 0, "of a run that is paused no worker takes anything"
    fleet.execute("UPDATE flowshift.runs SET state = 'running', kind = 'roll_back'")
    assert counted() == 0, "the publisher's"
