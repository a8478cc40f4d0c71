"""Secrets in files: `FLOWSHIFT_…_FILE` names the file that holds one, as containers get them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.errors import ConfigError
from worker.settings import load
from worker.settings.origin import shown
from worker.settings.secret_files import MAX_BYTES, secrets

HIDDEN = "redis://:s3cret@redis/0"
NAME = "FLOWSHIFT_REDIS_URL_FILE"


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def a_file(where: Path, content: bytes) -> str:
    file = where / "secret"
    file.write_bytes(content)
    return str(file)


@pytest.mark.parametrize("ends", ["", "\n", "\r\n", "\n\n"])
def test_a_secret_is_read_from_its_file_without_the_end_of_its_line(
    tmp_path: Path, ends: str
) -> None:
    named = a_file(tmp_path, f"{HIDDEN}{ends}".encode())

    assert load({NAME: named}).redis_url == HIDDEN


@pytest.mark.parametrize("key", secrets())
def test_every_secret_may_be_in_a_file(tmp_path: Path, key: str) -> None:
    sites = dict.fromkeys(("web_url", "flower_url"), "https://flowshift.example")
    value = {**sites, "web_secret": "s" * 32}.get(key, "user:s3cret")
    named = a_file(tmp_path, value.encode())

    assert getattr(load({f"FLOWSHIFT_{key.upper()}_FILE": named}), key) == value


def test_what_is_no_secret_has_no_file() -> None:
    assert "there is no such setting" in refused(FLOWSHIFT_BATCH_SIZE_FILE="/etc/size")


def test_a_secret_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    named = a_file(tmp_path, HIDDEN.encode())

    assert refused(FLOWSHIFT_REDIS_URL=HIDDEN, FLOWSHIFT_REDIS_URL_FILE=named) == (
        f"{NAME}: FLOWSHIFT_REDIS_URL is set too: remove one of them"
    )


def test_an_empty_name_of_a_file_counts_as_not_set(tmp_path: Path) -> None:
    assert load({NAME: "", "FLOWSHIFT_REDIS_URL": HIDDEN}).redis_url == HIDDEN


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"s3cret\0", b"s3cret" * MAX_BYTES],
    ids=["empty", "blank", "NUL", "too long"],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "must hold the secret alone" in refused(**{NAME: a_file(tmp_path, content)})


def test_a_file_that_cannot_be_read_is_named_by_its_setting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    missing = refused(**{NAME: str(tmp_path / "none")})
    assert missing == f"{NAME}: cannot read the file that it names: No such file or directory"
    assert "it is no file" in refused(**{NAME: str(tmp_path)})
    assert "it is no file" in refused(**{NAME: str(tmp_path / "pipe")})
    assert "not UTF-8" in refused(**{NAME: a_file(tmp_path, b"s3cret\xff")})


def test_a_value_from_a_file_must_fit_as_any_other(tmp_path: Path) -> None:
    named = a_file(tmp_path, b"s3cret without a user")

    assert "must be user:password" in refused(FLOWSHIFT_FLOWER_BASIC_AUTH_FILE=named)


def test_settings_say_that_a_secret_is_from_a_file_and_not_what_it_is(tmp_path: Path) -> None:
    environ = {NAME: a_file(tmp_path, HIDDEN.encode())}
    by_name = {one.name: one for group in shown(load(environ), environ) for one in group.settings}

    found = by_name["FLOWSHIFT_REDIS_URL"]
    assert (found.origin, found.value) == ("file", "set, and not shown")
    assert by_name["FLOWSHIFT_DATABASE_URL"].origin == "default"
