"""Asking a platform's program: each question answered once, whatever the program does."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import platform_program
from tests.forks import in_fork
from worker.core.parity.word import Answer, Broke, Check, Execute, Failed, Found, Messages, Ran
from worker.core.workflow.calls import Generate, Retrieve
from worker.platform import client as clients
from worker.platform.client import Client, Limits, PlatformAwayError, Ticket
from worker.platform.command import Command

PROGRAM = Path(platform_program.__file__)
FINE = Messages(())

Open = Callable[..., Client]


def a_draft(**fields: Any) -> Check:
    return Check(json.dumps(fields).encode())


def saying(word: str) -> Check:
    return a_draft(messages=[word])


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """A file with the process id of each start."""
    return tmp_path / "starts"


@pytest.fixture
def opened(starts: Path) -> Iterator[Open]:
    """Open clients; every program of theirs is gone at the end."""
    made: list[Client] = []

    def open_one(
        how: str = "honest",
        *,
        answer_s: float = 20.0,
        start_s: float = 20.0,
        probe: Check | None = None,
    ) -> Client:
        argv = (sys.executable, "-I", "-S", str(PROGRAM), how, str(starts))
        one = Client(
            Command(argv, (("PATH", os.defpath), ("ACME_KEY", "1"))),
            probe=probe or a_draft(),
            limits=Limits(start_s=start_s, answer_s=answer_s),
            sleep=lambda _: None,
        )
        made.append(one)
        return one

    yield open_one
    for one in made:
        one.close()
    gc.collect()  # whatever was not waited for warns here
    if starts.exists():
        for pid in starts.read_text().split():
            wait_until_gone(int(pid))


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 20
    while psutil.pid_exists(pid):
        assert time.monotonic() < until, f"{pid} still runs"
        time.sleep(0.01)


def ask(client: Client, *questions: Check | Execute) -> list[Answer]:
    tickets = [client.submit(question) for question in questions]
    return [client.result(ticket) for ticket in tickets]


# -- honest ------------------------------------------------------------------------------------


def test_each_draft_gets_its_own_answer_from_one_start(opened: Open, starts: Path) -> None:
    answers = ask(opened(), *(saying(str(i)) for i in range(100)))

    assert answers == [Messages((str(i),)) for i in range(100)]
    assert len(starts.read_text().split()) == 1


def test_answers_in_another_order_are_taken_for_the_right_drafts(opened: Open) -> None:
    assert ask(opened("backwards"), saying("a"), saying("b"), saying("c")) == [
        Messages(("a",)),
        Messages(("b",)),
        Messages(("c",)),
    ]


def test_an_execution_has_its_answer_and_its_calls(opened: Open) -> None:
    calls = [
        {"kind": "retrieve", "query": "hi", "top_k": 2, "document_ids": ["a"]},
        {
            "kind": "llm",
            "prompt": "p",
            "model": "m",
            "provider": "o",
            "temperature": 0,
            "max_tokens": 1,
        },
    ]
    graph = json.dumps({"answer": "yes", "calls": calls}).encode()
    found = Found("hi", 2, ("a",), ({"content": "x"},))

    assert ask(opened(), Execute(graph, "hi", (found,))) == [
        Ran("yes", (Retrieve("hi", 2, ("a",)), Generate("p", "m", "o", 0.0, 1)))
    ]


def test_a_draft_with_line_breaks_and_one_larger_than_every_pipe_arrive_whole(opened: Open) -> None:
    broken = Check(b'{\n"messages":\r\n["a"]}')
    large = a_draft(messages=["b"], text="x" * 3_000_000)

    assert ask(opened(), *[broken, large] * 4) == [Messages(("a",)), Messages(("b",))] * 4


def test_what_it_says_itself_that_failed_is_kept(opened: Open) -> None:
    assert ask(opened(), a_draft(error="no node type x")) == [Failed("no node type x")]


def test_noise_on_standard_error_does_not_block_it(opened: Open) -> None:
    assert ask(opened(), *[a_draft(noise=200_000)] * 3) == [FINE] * 3


def test_it_gets_the_environment_that_it_was_given_and_nothing_else(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", "postgresql://me:secret@db/x")

    [answer] = ask(opened(), a_draft(environment=True))

    assert isinstance(answer, Messages)
    assert set(answer.messages) - {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"} == {"PATH", "ACME_KEY"}


def test_a_workers_memory_limit_is_not_the_programs(opened: Open) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (8 * 1024**3, hard))
    try:
        [answer] = ask(opened(), a_draft(**{"memory limit": True}))
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

    assert answer == Messages((str(hard),))


# -- faults of one draft -----------------------------------------------------------------------

FAULTS = {
    "crash": "it exited with code 3",
    "kill": "it was killed by signal 11 (SIGSEGV)",
    "wrong id": "it answered '0123456789abcdef', which it was not asked",
    "number as id": "it wrote a line that is no answer (Expected `str`, got `int`",
    "no id": "it wrote a line that is no answer (Object missing required field `id`)",
    "wrong type": "it wrote a line that is no answer (Expected `array | null`, got `str`",
    "nothing in it": "it answered a check with neither `messages` nor `error`",
    "half a line": "it exited with code 0 after half a line",
    "no JSON": "it wrote a line that is no answer (JSON is malformed",
    "blank line": "it wrote a line that is no answer",
    "not UTF-8": "it wrote a line that is no answer (",
    "half a surrogate": "it wrote a line that is no answer (",
    "deep": "it wrote a line that is no answer (",
    "deep beside": "it wrote a line that is no answer (too deep)",
    "huge": "it wrote a line of over 16,777,216 bytes",
    "endless line": "it wrote a line of over 16,777,216 bytes",
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_program_that_breaks_over_one_draft_answers_all_the_others(
    opened: Open, what: str
) -> None:
    before, after = (
        [saying(f"before {i}") for i in range(5)],
        [saying(f"after {i}") for i in range(5)],
    )

    answers = ask(opened(), *before, a_draft(do=what), *after)

    guilty = answers.pop(5)
    assert isinstance(guilty, Broke)
    assert guilty.how.startswith(FAULTS[what])
    assert answers == [ask_of(question) for question in (*before, *after)]


def ask_of(question: Check) -> Messages:
    return Messages(tuple(json.loads(question.graph)["messages"]))


@pytest.mark.parametrize("what", ["hang", "hang with a child"])
def test_a_program_that_hangs_over_one_draft_is_killed_with_its_children(
    opened: Open, starts: Path, what: str
) -> None:
    answers = ask(opened(answer_s=0.5), saying("a"), a_draft(do=what), saying("b"))

    assert answers[::2] == [Messages(("a",)), Messages(("b",))]
    assert answers[1] == Broke("it gave no answer for 0.5 s")


def test_a_program_that_crashes_leaves_no_child_behind(opened: Open) -> None:
    # `opened` waits for every process in the file of starts, where the child is too.
    assert ask(opened(), a_draft(do="crash with a child")) == [Broke("it exited with code 3")]


def test_a_program_that_closes_its_output_and_goes_on_is_killed(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.platform.process._END_S", 0.2)

    assert ask(opened(), a_draft(do="closes its output"), saying("b")) == [
        Broke("it closed its output and went on running"),
        Messages(("b",)),
    ]


@pytest.mark.parametrize("what", ["twice", "endless lines"])
def test_a_doubled_answer_is_never_taken_for_the_next_drafts(opened: Open, what: str) -> None:
    client = opened()

    assert ask(client, a_draft(do=what)) == [FINE]
    assert ask(client, saying("next"), saying("third")) == [
        Messages(("next",)),
        Messages(("third",)),
    ]


def test_a_program_that_crashes_once_over_a_draft_is_asked_about_it_again(opened: Open) -> None:
    assert ask(opened(), a_draft(do="crash once", messages=["x"])) == [Messages(("x",))]


def test_a_crash_with_other_drafts_in_its_hands_is_no_strike_against_one(opened: Open) -> None:
    assert ask(opened(), a_draft(do="crash twice", messages=["x"]), saying("y")) == [
        Messages(("x",)),
        Messages(("y",)),
    ]


def test_a_forgotten_question_is_not_asked_again(opened: Open, starts: Path) -> None:
    client = opened(answer_s=0.5)
    client.greeting()
    client.forget(client.submit(a_draft(do="hang")))

    assert ask(client, saying("new")) == [Messages(("new",))]
    assert len(starts.read_text().split()) == 2


def test_the_late_answer_to_a_forgotten_question_is_dropped(opened: Open) -> None:
    client = opened()
    client.greeting()
    forgotten: list[Ticket] = [client.submit(saying("old")) for _ in range(3)]
    for ticket in forgotten:
        client.forget(ticket)

    assert ask(client, saying("new")) == [Messages(("new",))]


def test_a_program_that_went_away_between_two_questions_is_started_again(
    opened: Open, starts: Path
) -> None:
    client = opened()
    [answer] = ask(client, a_draft(pid=True))
    assert isinstance(answer, Messages)
    os.kill(int(answer.messages[0]), 9)
    wait_until_gone(int(answer.messages[0]))

    assert ask(client, saying("again")) == [Messages(("again",))]
    assert len(starts.read_text().split()) == 2


# -- faults of the program itself --------------------------------------------------------------

STARTS = {
    "dies at start": "it exited with code 1; it says: no database",
    "says nothing": "it did not answer `hello` within 0.3 s",
    "banner": "it wrote something else than the answer to `hello`",
    "wrong hello": "it wrote something else than the answer to `hello`",
    "error": "it says: no licence",
}


@pytest.mark.parametrize("how", STARTS)
def test_a_program_that_does_not_start_is_tried_a_few_times(
    opened: Open, starts: Path, how: str
) -> None:
    client = opened(how, start_s=0.3 if how == "says nothing" else 20.0)

    with pytest.raises(PlatformAwayError, match="does not start") as raised:
        ask(client, a_draft())

    assert STARTS[how] in str(raised.value)
    assert len(starts.read_text().split()) == clients.START_ATTEMPTS


def test_a_program_that_starts_at_the_second_attempt_is_used(opened: Open) -> None:
    assert ask(opened("dies at first"), saying("a")) == [Messages(("a",))]


def test_a_program_that_breaks_over_a_good_draft_too_is_away_and_blames_no_other_draft(
    opened: Open,
) -> None:
    client = opened("crashes at everything")
    tickets = [client.submit(saying(str(i))) for i in range(20)]
    blamed = [client.result(ticket) for ticket in tickets[: clients.IN_A_ROW]]

    with pytest.raises(PlatformAwayError, match="breaks over every draft: it exited with code 3"):
        client.result(tickets[clients.IN_A_ROW])
    assert blamed == [Broke("it exited with code 3")] * clients.IN_A_ROW
    assert [ticket.answer for ticket in tickets[clients.IN_A_ROW :]] == [None] * 15


def test_drafts_that_each_break_it_do_not_make_it_away_while_it_takes_a_good_one(
    opened: Open,
) -> None:
    bad = [a_draft(do="crash")] * (2 * clients.IN_A_ROW + 1)

    *broken, last = ask(opened(), *bad, saying("fine"))

    assert broken == [Broke("it exited with code 3")] * len(bad)
    assert last == Messages(("fine",))


def test_an_answered_draft_between_bad_ones_says_that_the_program_works(opened: Open) -> None:
    few = [a_draft(do="crash")] * (clients.IN_A_ROW - 1)
    client = opened(probe=a_draft(do="crash"))

    answers = ask(client, *few, saying("fine"), *few)

    assert answers[len(few)] == Messages(("fine",))
    assert answers.count(Broke("it exited with code 3")) == 2 * len(few)


# -- the end -----------------------------------------------------------------------------------


def test_closing_twice_ends_it_and_the_next_question_starts_it_again(
    opened: Open, starts: Path
) -> None:
    client = opened()
    ask(client, saying("a"))
    client.close()
    client.close()
    wait_until_gone(int(starts.read_text().split()[0]))

    assert ask(client, saying("b")) == [Messages(("b",))]


def test_it_ends_with_a_process_that_is_killed_and_so_do_its_children(
    starts: Path, tmp_path: Path
) -> None:
    script = f"""
import json, os, signal
from worker.core.parity.word import Check
from worker.platform.client import Client
from worker.platform.command import Command
argv = {(sys.executable, "-I", "-S", str(PROGRAM), "honest", str(starts))!r}
client = Client(Command(argv), probe=Check(b"{{}}"))
client.greeting()
client.submit(Check(b'{{"do": "hang with a child"}}'))
process = client._process
while process._to_write:
    process.exchange(0.05)
import psutil, time
guard = psutil.Process(process._guard.pid)
while len(below := guard.children(recursive=True)) < 2:
    time.sleep(0.02)
print([one.pid for one in below], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    out = tmp_path / "out"
    with out.open("w") as file:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", script],
            {**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])},
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)],
        )
    _, status = os.waitpid(pid, 0)

    assert os.WTERMSIG(status) == 9
    below = json.loads(out.read_text().splitlines()[-1])
    assert len(below) == 2
    for one in below:
        wait_until_gone(one)


def test_a_fork_that_lets_go_leaves_the_program_to_the_process_that_started_it(
    opened: Open, starts: Path
) -> None:
    client = opened()
    ask(client, saying("a"))
    in_fork(client.leave)

    assert ask(client, saying("b")) == [Messages(("b",))]
    assert len(starts.read_text().split()) == 1
