"""Processes of tests are given live tests and others so that both cores are busy."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from tests.scheduling import BothCoresBusy, is_of_day, most_live, piece_of

LIVE = [
    f"tests/acceptance/test_{name}.py::test_{n}" for name in ("a", "chaos", "z") for n in range(2)
]
UNIT = [f"tests/unit/test_u.py::test_{n}" for n in range(9)]
INTEGRATION = [f"tests/integration/test_i.py::test_{n}" for n in range(9)]


class Node:
    """A process of tests: which ones it was told to run, in this order."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.shutting_down = False
        self.todo: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.todo += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def scheduled(tests: list[str], processes: int) -> tuple[BothCoresBusy, list[Node]]:
    """The scheduler of some processes that have all collected these tests, after its first step."""
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue=lambda _: ["popen"] * processes
    )
    scheduler = BothCoresBusy(config)
    nodes = [Node(number) for number in range(processes)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    return scheduler, nodes


def has_live(tests: list[str], node: Node) -> bool:
    return any(tests[index] in LIVE for index in node.todo)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_every_test_is_run_once_by_one_process(processes: int) -> None:
    tests = [*UNIT, *LIVE, *INTEGRATION]
    scheduler, nodes = scheduled(tests, processes)
    ran: list[int] = []
    while any(node.todo for node in nodes):
        for node in nodes:
            if node.todo:
                ran.append(node.todo.pop(0))
                scheduler.mark_test_complete(node, ran[-1])
    assert sorted(ran) == list(range(len(tests)))
    assert scheduler.tests_finished
    assert not scheduler.has_pending


def test_of_five_processes_three_begin_with_live_tests_the_longest_first_and_two_with_others() -> (
    None
):
    tests = [*UNIT, *LIVE, *INTEGRATION]
    _, nodes = scheduled(tests, 5)
    assert [has_live(tests, node) for node in nodes].count(True) == most_live(5) == 3
    assert "chaos" in tests[nodes[0].todo[0]]


def test_who_runs_live_tests_goes_on_with_them_and_the_rest_join_once_there_are_no_others() -> None:
    tests = [*UNIT, *INTEGRATION, *LIVE]
    scheduler, (first, second) = scheduled(tests, 2)
    assert [has_live(tests, node) for node in (first, second)] == [True, False]
    assert len(first.todo) == 4, "two files"
    assert {tests[index] for index in first.todo} <= set(LIVE)
    while second.todo:
        scheduler.mark_test_complete(second, second.todo.pop(0))
    assert not scheduler.workqueue, "what the first was not given, the second has done"


def test_live_and_unit_tests_go_file_by_file_and_integration_tests_one_by_one() -> None:
    assert {piece_of(test) for test in LIVE} == {
        f"tests/acceptance/test_{name}.py" for name in ("a", "chaos", "z")
    }
    assert {piece_of(test) for test in UNIT} == {"tests/unit/test_u.py"}
    assert {piece_of(test) for test in INTEGRATION} == set(INTEGRATION)


def test_a_piece_that_is_done_is_forgotten() -> None:
    scheduler, (node,) = scheduled(UNIT + INTEGRATION, 1)
    for _ in UNIT:
        scheduler.mark_test_complete(node, node.todo.pop(0))
    assert "tests/unit/test_u.py" not in scheduler.assigned_work[node]


def test_eight_days_after_one_another_run_each_test_once() -> None:
    names = [f"tests/acceptance/test_x.py::test_{number}" for number in range(160)]
    today = dt.date(2026, 11, 29)
    parts = [
        {name for name in names if is_of_day(name, today + dt.timedelta(days=after))}
        for after in range(9)
    ]

    assert set.union(*parts[:8]) == set(names)
    assert sum(map(len, parts[:8])) == len(names)
    assert parts[0] == parts[8]
    assert min(map(len, parts)) > 10
