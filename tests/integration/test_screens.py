"""What a person sees at terminals of 60, 80 and 120 columns, with Korean and hostile names."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from rich.cells import cell_len

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from worker import cli, runtime
from worker.db.publication import outline
from worker.servers.connect import Servers
from worker.settings import Settings

KOREAN = "고객상담-챗봇-서울특별시-강남구-지점-이백삼십사호-"
HOSTILE = "\x1b[2J\u202e[bold]evil[/]\u200b-"
REASON = "플랫폼이 느려졌습니다, 담당자 확인이 필요합니다 " * 3 + HOSTILE

_STYLE = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    current = runtime.Runtime(settings, Servers(settings.database_url, settings.redis_url))
    fleet = Fleet(current)
    for number in range(3):
        for name in (KOREAN, HOSTILE, "bot-with-a-rather-long-name-"):
            workflow = a_broken_workflow() if number else a_workflow(prompt=f"{name}{{question}}")
            fleet.add(f"{name}{number}", workflow)
    fleet.run(validate="all", messages=(KOREAN, HOSTILE))
    fleet.run(dry_run=True)
    fleet.run(kind="validate", of_run=1, messages=("안녕하세요",))
    fleet.planned(bot_ids=(f"{KOREAN}0", f"{HOSTILE}0"))
    fleet.execute(
        "UPDATE flowshift.audit SET actor = :who, reason = :why WHERE action = 'run.running'",
        who=f"{KOREAN}@{HOSTILE}",
        why=REASON,
    )
    fleet.execute("UPDATE flowshift.runs SET requested_by = :who", who=f"{KOREAN}@{HOSTILE}")
    a_publication(fleet)
    yield fleet
    current.close()


def a_publication(fleet: Fleet) -> None:
    """One that is held, with 1,000 waves, a Korean bot in the last of them."""
    fleet.execute(
        "INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state, held_from,"
        " held_because, state_reason, bot_count, options) VALUES (1, 'r', :who, 'held', 'watching',"
        " 'inconclusive', :why, 1000000, '{\"target\": \"guide\"}')",
        who=f"{KOREAN}@{HOSTILE}",
        why=REASON,
    )
    fleet.execute(
        "INSERT INTO flowshift.waves (publication_id, number, label, bot_count, published)"
        " SELECT 1, n, '0.1 %', 1000, 1000 FROM generate_series(1, 1000) n"
    )
    fleet.execute(
        "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, code, message)"
        " VALUES (:bot, 1, 1000, 'skipped', 'not_proven', :why)",
        bot=f"{KOREAN}0",
        why=REASON,
    )


Shown = Callable[..., str]


@pytest.fixture
def shown(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Shown:
    for name in ("database_url", "redis_url", "namespace", "data_dir", "batch_size"):
        monkeypatch.setenv(f"FLOWSHIFT_{name.upper()}", str(getattr(settings, name)))

    def show(*arguments: str, columns: int, **environ: str) -> str:
        terminal = Terminal()
        for name, value in {"COLUMNS": str(columns), "TERM": "xterm-256color", **environ}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["flowshift", *arguments])
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit):
            cli.main()
        return terminal.getvalue()

    return show


SCREENS = (
    ("runs",),
    ("audit", "1"),
    ("health",),
    ("status",),
    ("failures",),
    ("warnings",),
    ("show", f"{KOREAN}0"),
    ("show", f"{HOSTILE}0"),
    ("executions",),
    ("publications",),
    ("publication", "1"),
    ("versions", f"{KOREAN}0"),
)


WIDTHS = (60, 80, 120)


def test_nothing_is_wider_than_the_terminal_and_nothing_acts_on_it(
    fleet: Fleet, shown: Shown
) -> None:
    for columns in WIDTHS:
        for screen in SCREENS:
            lines = _STYLE.sub("", shown(*screen, columns=columns)).splitlines()
            assert lines, screen
            for line in lines:
                assert cell_len(line) <= columns, (screen, line)
                assert line.isprintable(), (screen, line)


def test_a_publication_of_a_thousand_waves_fits_a_screen_and_json_has_them_all(
    fleet: Fleet, shown: Shown, flowshift: Run
) -> None:
    fleet.execute(
        "UPDATE flowshift.waves SET watched_from = now(),"
        " state = CASE WHEN number < 500 THEN 'passed' ELSE 'publishing' END WHERE number <= 500"
    )
    found = json.loads(flowshift("publication", "1", "--json")[1])
    assert [wave["number"] for wave in found["waves"]] == list(range(1, 1001))

    lines = _STYLE.sub("", shown("publication", "1", columns=120)).splitlines()
    waves = [" ".join(line.split()[:5]) for line in lines if re.match(r"[0-9]+ (to|\()", line)]
    assert waves[1] == "2 to 496 495 passed"
    assert waves[5] == "500 (0.1 %) publishing 1,000"
    assert waves[9] == "504 to 999 496 pending"
    assert len(waves) == 11
    assert "991 waves are folded: flowshift publication 1 --json" in lines


def test_publications_are_one_question_whatever_their_number(
    fleet: Fleet, shown: Shown, flowshift: Run
) -> None:
    fleet.execute(
        "INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state)"
        " SELECT n, n::text, 'kim', 'publishing' FROM generate_series(2, 9) n"
    )
    asked: list[str] = []
    with fleet.engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        assert len(outline.newest(connection, 20)) == 9
    assert len(asked) == 1

    [one] = json.loads(flowshift("publications", "--limit", "9", "--json")[1])[-1:]
    assert (one["publication_id"], one["held_because"]) == (1, "inconclusive")
    assert one["moved_ago_s"] >= 0
    text = _STYLE.sub("", shown("publications", columns=120))
    [line] = [one for one in text.splitlines() if one.split()[:1] == ["1"]]
    assert line.split()[1] == "held"
    assert "publication 1: 플랫폼이" in text


def test_no_heading_is_cut(fleet: Fleet, shown: Shown) -> None:
    for columns in WIDTHS:
        for screen in (("runs",), ("audit",), ("executions",), ("show", f"{KOREAN}0")):
            text = _STYLE.sub("", shown(*screen, columns=columns))
            assert "…" not in text, (screen, columns)
        heading = _STYLE.sub("", shown("runs", columns=columns)).splitlines()[0].split()
        assert {"run", "state", "bots", "failed", "started"} <= set(heading)


def test_a_name_is_shown_whole_even_if_it_is_wrapped(fleet: Fleet, shown: Shown) -> None:
    for columns in WIDTHS:
        lines = _STYLE.sub("", shown("executions", columns=columns)).splitlines()
        assert "bot" in lines[0], lines
        at = lines[0].index("bot")
        end = lines[0].find("run or") if "run or" in lines[0] else None
        column = "".join(_cells(line, at, end) for line in lines[1:]).replace(" ", "")
        for name in (f"{KOREAN}0", "\\x1b[2J\\u202e[bold]evil[/]\\u200b-0"):
            assert name in column, columns


def _cells(line: str, begin: int, end: int | None) -> str:
    """What stands between two columns of the terminal."""
    found, at = "", 0
    for character in line:
        if at >= begin and (end is None or at < end):
            found += character
        at += cell_len(character)
    return found


def test_what_is_wrapped_keeps_its_indentation(fleet: Fleet, shown: Shown) -> None:
    lines = _STYLE.sub("", shown("failures", columns=60)).splitlines()
    at = next(n for n, line in enumerate(lines) if "run 1: node 'llm':" in line)

    assert lines[at].startswith("    ")
    assert lines[at + 1].startswith("    temperature must be a number")

    audit = _STYLE.sub("", shown("audit", "1", columns=60)).splitlines()
    reason = next(n for n, line in enumerate(audit) if line.startswith("    플랫폼이"))
    assert audit[reason + 1].startswith("    ")


@pytest.mark.parametrize("screen", [("runs",), ("failures",), ("status",)])
def test_no_colour_and_a_dumb_terminal_are_respected(
    fleet: Fleet, shown: Shown, screen: tuple[str, ...]
) -> None:
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", shown("failures", columns=80))
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]", shown(*screen, columns=80, NO_COLOR="1"))
    assert "\x1b" not in shown(*screen, columns=80, TERM="dumb")


def test_into_a_pipe_a_line_is_whole(fleet: Fleet, flowshift: Run) -> None:
    out = flowshift("failures")[1]

    assert "\x1b" not in out
    (line,) = [line for line in out.splitlines() if "u200b-1" in line]
    assert line.endswith("(it is '1.5')")
