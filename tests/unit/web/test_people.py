"""The file of those who may come in: what a line may be, and what is held against it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from worker.errors import ConfigError
from worker.web.doors.people import (
    Person,
    fits_name,
    hash_password,
    hash_token,
    new_token,
    read_people,
)

TEA = hash_password("earl grey tea", b"0" * 16)


def a_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "users"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_password_fits_its_own_name_alone(tmp_path: Path) -> None:
    found = read_people(
        a_file(
            tmp_path, "# who", "", "  # blanks before it", f"ann operator {TEA}", "bob viewer proxy"
        )
    )

    assert found.with_password("ann", "earl grey tea") == Person("ann", "operator")
    assert found.with_password("ann", "earl grey te") is None
    assert found.with_password("bob", "earl grey tea") is None
    assert found.with_password("eve", "") is None
    assert found.named("bob") == Person("bob", "viewer")


@pytest.mark.parametrize("name", ["ann", "bob", "eve"])
def test_a_wrong_password_takes_as_long_whoever_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = read_people(a_file(tmp_path, f"ann operator {TEA}", "bob viewer proxy"))
    computed: list[dict[str, int]] = []

    def note(*_: bytes, **given: int) -> bytes:
        computed.append(given)
        return b""

    monkeypatch.setattr(hashlib, "scrypt", note)

    assert found.with_password(name, "wrong") is None
    assert [(one["n"], one["r"], one["p"]) for one in computed] == [(16384, 8, 1)]


def test_a_token_is_known_by_its_hash_and_one_name_may_have_several(tmp_path: Path) -> None:
    tokens = new_token(), new_token()
    lines = [f"ci operator {hash_token(token)}" for token in tokens]
    found = read_people(a_file(tmp_path, *lines))

    assert [found.with_token(token) for token in tokens] == [Person("ci", "operator")] * 2
    assert found.with_token(tokens[0][:-1]) is None
    assert found.with_token(hash_token(tokens[0])) is None, "the file itself lets nobody in"
    assert found.named("ci") is None, "a proxy lets in no token"


def test_the_same_password_is_kept_differently_each_time() -> None:
    assert hash_password("earl grey tea") != hash_password("earl grey tea")


@pytest.mark.parametrize(
    "line",
    [
        "ann operator",
        "ann admin proxy",
        "ann operator earlgrey",
        "ann operator sha256:abc",
        "a:n operator proxy",
        "ann operator scrypt:16384:8:1:AA",
        "ann operator scrypt:1048576:8:1:AAAA:AAAA",
        "ann operator scrypt:15000:8:1:AAAA:AAAA",
        "ann operator scrypt:16384:8:1:@@@@:AAAA",
        "ann operator scrypt:1:8:1:AAAA:AAAA",
        "ann operator scrypt:0:8:1:AAAA:AAAA",
        "ann operator scrypt:16384:0:1:AAAA:AAAA",
        "ann operator scrypt:16384:-8:1:AAAA:AAAA",
        "ann operator scrypt:65536:1:1:AAAA:AAAA",
        "ann operator scrypt:16384:8:0:AAAA:AAAA",
        "ann operator scrypt:16384:8:17:AAAA:AAAA",
        "ann operator bcrypt:16384:8:1:AAAA:AAAA",
        f"ann operator sha256:{'g' * 64}",
        "ann operator proxy more",
    ],
)
def test_a_line_that_does_not_fit_is_named_without_what_it_holds(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="line 2 of") as caught:
        read_people(a_file(tmp_path, "bob viewer proxy", line))

    assert "FLOWSHIFT_WEB_USERS" in str(caught.value)
    assert line not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("ann viewer proxy", "ann operator proxy"), "two lines for 'ann'"),
        (("# nobody",), "names nobody"),
    ],
)
def test_a_file_that_names_somebody_twice_or_nobody_is_refused(
    tmp_path: Path, lines: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read_people(a_file(tmp_path, *lines))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_people(tmp_path / "none")
    (tmp_path / "users").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_people(tmp_path / "users")


def test_a_name_is_one_word_that_can_be_stored() -> None:
    assert [fits_name(name) for name in ("ann", "김철수", "ann@example.com")] == [True] * 3
    bad = ("", "a b", "a:b", "a\nb", "a\x00", "\u202eevil", "x" * 101)
    assert [fits_name(name) for name in bad] == [False] * len(bad)
