"""The generated pages: current, complete, and the same on every machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from reference import __main__ as reference
from reference.events import logged_events
from reference.settings import members
from worker.core import codes
from worker.events import EVENTS
from worker.settings import GROUPS, USUAL, Settings

DOCS = Path(__file__).parents[2] / "docs" / "reference"

EVERY_CODE = (
    *codes.OUTCOMES,
    *codes.SKIP_CODES,
    *codes.FAILURE_CODES,
    *codes.WARNING_CODES,
)


def test_the_committed_pages_are_current() -> None:
    assert reference.outdated(DOCS) == [], "run `make docs`"


def test_every_code_has_one_meaning_and_one_remedy() -> None:
    assert len(set(EVERY_CODE)) == len(EVERY_CODE)
    assert set(codes.MEANINGS) == set(EVERY_CODE)
    assert set(codes.REMEDIES) == set(EVERY_CODE)


@pytest.mark.parametrize("code", EVERY_CODE)
def test_a_meaning_is_one_line_without_a_full_stop(code: str) -> None:
    for text in (codes.MEANINGS[code], codes.REMEDIES[code]):
        assert text
        assert "\n" not in text
        assert not text.endswith(".")


def test_every_event_that_is_logged_is_in_the_catalogue_and_no_other() -> None:
    assert {event.name for event in logged_events()} == set(EVENTS)


def test_an_event_with_computed_keys_shows_what_is_known_of_them() -> None:
    (event,) = (event for event in logged_events() if event.name == "batch.converted")

    assert event.keys == ("run_id", "batch", "attempt", "bots_…", "duration_ms")


def test_every_command_is_on_the_page() -> None:
    text = reference.pages()["commands.md"]

    for name in (
        *("migrate", "retry", "runs", "status", "watch", "show"),
        *("pause", "resume", "cancel", "tune", "audit"),
        *("convert", "trace", "up", "flower"),
    ):
        assert f"\n## flowshift {name}\n" in text
    for name in ("check", "upgrade", "downgrade"):
        assert f"\n## flowshift db {name}\n" in text


def test_every_setting_is_on_the_page_once_and_the_usual_ones_come_first() -> None:
    lines = reference.pages()["settings.md"].splitlines()
    shown = [line.split("`")[1] for line in lines if line.startswith("| `FLOWSHIFT_")]
    names = [f"FLOWSHIFT_{field.name.upper()}" for field in msgspec.structs.fields(Settings)]

    assert sorted(shown) == sorted(names)
    assert shown[:8] == [f"FLOWSHIFT_{name.upper()}" for name in USUAL]
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert titles == ["The usual ones", *(group.__name__ for group in GROUPS)]


def test_the_groups_hold_every_setting_in_the_order_of_the_class() -> None:
    held = [name for group in GROUPS for name in members(group)]

    assert held == [field.name for field in msgspec.structs.fields(Settings)]


def test_pages_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reference.pages()
    monkeypatch.setenv("COLUMNS", "40")

    assert reference.pages() == expected


def test_writing_makes_what_checking_wants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "docs"

    assert reference.main([str(directory)]) == 0
    assert reference.main([str(directory), "--check"]) == 0

    (directory / "codes.md").write_text("old")
    (directory / "commands.md").unlink()
    assert reference.main([str(directory), "--check"]) == 1
    assert (directory / "codes.md").read_text() == "old"
    said = capsys.readouterr().err
    assert "codes.md is out of date: run `make docs`" in said
    assert "commands.md is out of date" in said
