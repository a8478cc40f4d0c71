"""Rollbacks at once, of overlapping sets, and beside a wave that goes out: each bot counts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.fleet import Fleet
from tests.live import eventually
from tests.publication_invariants import must_hold
from tests.way_back import (
    count_live,
    deadlocks,
    go_out,
    install_brake,
    stopped,
)
from worker.db.publication.rolling import Which
from worker.errors import LockedError, StaleError
from worker.steps.finish import finish_run
from worker.steps.publication import detached
from worker.steps.publication.rollback import Result, roll_back
from worker.steps.publication.take_back import quarantine, take_back_wave

BOTS = 60
WAVE_2 = Which(publication_id=1, wave=2)

Back = Callable[[], int]
"""A way back; returns how many bots it gave back to V1."""


@pytest.fixture
def out(fleet: Fleet) -> Iterator[Fleet]:
    """Sixty bots that are out, in two waves: 24, 36."""
    go_out(fleet, BOTS)
    install_brake(fleet)
    yield fleet
    assert deadlocks(fleet) == 0


def command(fleet: Fleet, which: Which) -> Result:
    return roll_back(
        fleet.current, which, digest=None, actor="test", reason=None, show=lambda _: None
    )


def by_command(fleet: Fleet, which: Which = Which()) -> Back:  # noqa: B008  (frozen)
    def do() -> int:
        result = command(fleet, which)
        assert result.stays == 0
        return result.bots.get("rolled_back", 0)

    return do


def by_workers(fleet: Fleet, which: Which = Which()) -> Back:  # noqa: B008  (frozen)
    """A detached rollback; its batches, which others may leave locked bots of, done here."""
    [begun] = detached.detach(fleet.current, which, digest=None, actor="test", reason=None)
    run_id = begun.run_id
    assert run_id is not None

    def do() -> int:
        number = 1
        while number <= fleet.get(run_id).batch_count:
            try:
                fleet.convert(run_id, number, worker=f"run {run_id}")
                number += 1
            except LockedError:
                assert fleet.get(run_id).state == "running"
        finish_run(fleet.engine, run_id, actor="test")
        return fleet.progress(run_id).counts.rolled_back

    return do


def by_gate(fleet: Fleet) -> Back:
    def do() -> int:
        found = take_back_wave(fleet.current, 1, 2, actor="flowshift", reason="9 of 41")
        assert found.did
        said = found.said.partition("V1 answers on ")[2].split()
        return int(said[0]) if said else 0

    return do


def by_quarantine(fleet: Fleet) -> Back:
    """The gate takes single bots of the wave, and names those again that others have locked."""

    def do() -> int:
        rows = fleet.rows("SELECT bot_id FROM flowshift.publication_bots WHERE wave = 2 ORDER BY 1")
        sick, back = {row.bot_id for row in rows[::3]}, 0
        while sick:
            with fleet.engine.begin() as connection:
                found = quarantine(connection, 1, 2, sorted(sick), reason="7 of 7 failed")
            back += sum(one.state == "rolled_back" for one in found)
            sick = {one.bot_id for one in found if one.state == "busy"}
        return back

    return do


TWO: dict[str, Callable[[Fleet], tuple[Back, Back]]] = {
    "two commands": lambda fleet: (by_command(fleet), by_command(fleet, WAVE_2)),
    "a command and workers": lambda fleet: (by_workers(fleet, WAVE_2), by_command(fleet)),
    "two runs": lambda fleet: (by_workers(fleet), by_workers(fleet, WAVE_2)),
    "the gate and a person": lambda fleet: (by_gate(fleet), by_command(fleet)),
    "the gate, which quarantines, and a person": lambda fleet: (
        by_quarantine(fleet),
        by_command(fleet),
    ),
}


@pytest.mark.parametrize("which", TWO)
def test_two_rollbacks_of_the_same_bots_at_once_count_each_bot_once(which: str, out: Fleet) -> None:
    start = Barrier(2)

    def begin(back: Back) -> int:
        start.wait()
        return back()

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(begin, TWO[which](out)))

    assert sum(counts) == BOTS
    assert count_live(out) == 0
    must_hold(out)


@pytest.mark.parametrize("which", [Which(publication_id=1, wave=1), Which()])
def test_a_rollback_while_the_next_wave_publishes_stops_it_and_leaves_every_bot_whole(
    which: Which, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch of the wave is in its middle; it ends, and the next one finds that it must not begin."""
    monkeypatch.setattr("worker.steps.publication.begin.BATCH", 20)
    go_out(fleet, BOTS, out=1)
    install_brake(fleet)
    run_id = fleet.rows("SELECT run_id FROM flowshift.waves WHERE number = 2")[0].run_id
    with ThreadPoolExecutor(2) as pool:
        batch = pool.submit(fleet.convert, run_id, 1)
        with stopped(fleet, after=10):
            back = pool.submit(command, fleet, which)
            eventually(lambda: fleet.rows(_WAITING))
        assert batch.result(60).counts.published == 20
        result = back.result(60)
    with pytest.raises(StaleError):
        fleet.convert(run_id, 2)
    finish_run(fleet.engine, run_id, actor="test")

    all_of_it = which.wave is None
    assert result.bots == {"rolled_back": 44 if all_of_it else 24}
    assert list(result.states.values()) == ["rolled_back" if all_of_it else "held"]
    assert count_live(fleet) == (0 if all_of_it else 20)
    assert deadlocks(fleet) == 0
    must_hold(fleet)


_WAITING = (
    "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
)
