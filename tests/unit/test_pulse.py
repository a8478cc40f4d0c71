"""What a worker can say of its work, by what its main loop saw. (Real workers: tests/acceptance.)"""

from __future__ import annotations

import pytest

from worker.db.heartbeats import Sign
from worker.processes.pulse import IDLE_S, Look, Pulse


class World:
    """A clock and a queue that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.received = 0
        self.is_idle = True
        self.waits = False
        self.asked = 0

    def queue_is_empty(self) -> bool:
        self.asked += 1
        return not self.waits


@pytest.fixture
def world() -> World:
    """It begins with nothing to do."""
    return World()


@pytest.fixture
def pulse(world: World) -> Pulse:
    """A worker in it."""
    return Pulse(
        received=lambda: world.received,
        is_idle=lambda: world.is_idle,
        queue_is_empty=world.queue_is_empty,
        clock=lambda: world.now,
    )


def after(world: World, pulse: Pulse, seconds: float) -> Sign:
    """What it says some time later, its loop turning meanwhile."""
    world.now += seconds
    pulse.saw(Look(world.now))
    return pulse.sign()


def test_a_worker_whose_loop_turns_on_a_connection_that_answers_works(
    world: World, pulse: Pulse
) -> None:
    assert after(world, pulse, 10) == Sign(0.0, "it takes messages (0 so far)")
    world.received = 3
    assert after(world, pulse, 10) == Sign(0.0, "it takes messages (3 so far)")


def test_a_lost_connection_is_no_work(world: World, pulse: Pulse) -> None:
    assert pulse.sign().problem == "it is not connected to the queue"
    after(world, pulse, 1)
    pulse.saw(None)
    assert pulse.sign() == Sign(None, problem="it is not connected to the queue")


def test_a_queue_that_owes_an_answer_dates_the_work_back(world: World, pulse: Pulse) -> None:
    pulse.saw(Look(world.now, world.now - 40))
    assert pulse.sign() == Sign(40.0, problem="nothing came from the queue for 40 s")


def test_a_loop_that_hangs_dates_the_work_back(world: World, pulse: Pulse) -> None:
    pulse.saw(Look(world.now))
    world.now += 20
    assert pulse.sign() == Sign(20.0, problem="its main loop has not turned for 20 s")


def test_a_worker_that_leaves_messages_lying_while_it_is_idle_does_not_work(
    world: World, pulse: Pulse
) -> None:
    world.waits = True
    assert after(world, pulse, IDLE_S - 1).problem is None
    assert world.asked == 0, "one that was busy a moment ago need not ask"
    assert after(world, pulse, 1).problem is None, "seen once it may be this very moment's"
    said = after(world, pulse, 10)
    assert said == Sign(None, problem="messages wait, its processes are idle, and it takes none")
    world.received += 1
    assert after(world, pulse, 10).problem is None


def test_a_worker_that_is_busy_may_leave_messages_to_others(world: World, pulse: Pulse) -> None:
    world.waits, world.is_idle = True, False
    for _ in range(20):
        assert after(world, pulse, 10).problem is None
    assert world.asked == 0


def test_an_idle_worker_asks_the_queue_now_and_then_and_an_empty_one_is_nothing_to_take(
    world: World, pulse: Pulse
) -> None:
    for _ in range(12):
        assert after(world, pulse, 10).problem is None
    assert world.asked == 4
