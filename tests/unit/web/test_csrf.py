"""The token in a form."""

from __future__ import annotations

from worker.web.doors.csrf import VALID_S, FormTokens

NOW = 1_800_000_000.0
TOKENS = FormTokens()


def test_a_token_is_valid_for_its_person_for_twelve_hours() -> None:
    token = TOKENS.make("ann", NOW)

    assert TOKENS.is_valid(token, "ann", NOW)
    assert TOKENS.is_valid(token, "ann", NOW + VALID_S)
    assert not TOKENS.is_valid(token, "ann", NOW + VALID_S + 1)
    assert not TOKENS.is_valid(token, "bob", NOW)
    assert not TOKENS.is_valid(TOKENS.make("ann", NOW + 100), "ann", NOW), "not from the future"


def test_what_is_no_token_is_refused() -> None:
    signed = TOKENS.make("ann", NOW).partition(".")[2]
    for token in (
        "",
        ".",
        f"{int(NOW)}.",
        f"{int(NOW) + 1}.{signed}",
        f"x.{signed}",
        "１.a",
        "1.ü",
    ):
        assert not TOKENS.is_valid(token, "ann", NOW), token


def test_who_shares_the_secret_takes_the_token_and_nobody_else() -> None:
    token = FormTokens("a secret").make("ann", NOW)

    assert FormTokens("a secret").is_valid(token, "ann", NOW)
    assert not FormTokens("another").is_valid(token, "ann", NOW)
    assert not FormTokens().is_valid(token, "ann", NOW)
    assert not FormTokens().is_valid(FormTokens().make("ann", NOW), "ann", NOW)
