"""The token in a form."""

from __future__ import annotations

from worker.web.doors.csrf import VALID_S, is_valid, make_token

NOW = 1_800_000_000.0


def test_a_token_is_valid_for_its_person_for_twelve_hours() -> None:
    token = make_token("ann", NOW)

    assert is_valid(token, "ann", NOW)
    assert is_valid(token, "ann", NOW + VALID_S)
    assert not is_valid(token, "ann", NOW + VALID_S + 1)
    assert not is_valid(token, "bob", NOW)
    assert not is_valid(make_token("ann", NOW + 100), "ann", NOW), "not from the future"


def test_what_is_no_token_is_refused() -> None:
    signed = make_token("ann", NOW).partition(".")[2]
    for token in (
        "",
        ".",
        f"{int(NOW)}.",
        f"{int(NOW) + 1}.{signed}",
        f"x.{signed}",
        "１.a",
        "1.ü",
    ):
        assert not is_valid(token, "ann", NOW), token
