"""The bench of a million bots takes no more disk than it says, and does not begin without it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bench import million
from bench.__main__ import Wanted
from bench.measured import Measured
from bench.million import KEPT_FREE_BYTES, Disk, FullError, most_bytes, used_bytes


def free(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(million, "free_bytes", lambda _: free_bytes)


def test_it_does_not_begin_where_less_is_free_than_it_may_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLOWSHIFT_DATABASE_URL", raising=False)
    monkeypatch.setattr(million, "in_a_process", lambda *_: pytest.fail("it began"))
    free(monkeypatch, most_bytes(1_000) + KEPT_FREE_BYTES - 1)

    assert million.main(["--bots", "1000", "--output", str(tmp_path / "out.json")]) == 1
    said = capsys.readouterr().err
    assert "1,000 bots take at most 4.0 GB of disk" in said
    assert "6.0 GB are free there" in said
    assert not (tmp_path / "out.json").exists()


def test_it_ends_once_more_is_in_use_than_it_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free(monkeypatch, 50 * 10**9)
    block = b"x" * 2**16
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "wal").write_bytes(block)
    used = used_bytes(tmp_path)
    assert len(block) <= used < 3 * len(block)
    disk = Disk(tmp_path, most_bytes=used)
    disk.refuse_if_small()
    disk.look()
    (tmp_path / "more").write_bytes(block)
    with pytest.raises(FullError, match="ended"):
        disk.look()


def test_it_ends_before_the_disk_is_full_whoever_fills_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, most_bytes=10**9)
    free(monkeypatch, KEPT_FREE_BYTES)
    disk.look()
    free(monkeypatch, KEPT_FREE_BYTES - 1)
    with pytest.raises(FullError, match="ended"):
        disk.look()


def test_the_most_that_was_in_use_is_told_also_after_it_was_given_back(tmp_path: Path) -> None:
    disk = Disk(tmp_path, most_bytes=10**12)
    file = tmp_path / "table"
    for kilobytes in (1, 700, 20):
        file.write_bytes(b"x" * kilobytes * 1024)
        disk.look()
    assert 700 * 1024 <= disk.peak_bytes < 900 * 1024


def test_its_files_are_gone_afterwards_also_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    free(monkeypatch, 10**12)

    def fails(_: Wanted, __: object, files: Path) -> Measured:
        (files / "data").write_text("half")
        raise FullError("full")

    monkeypatch.setattr(million, "in_a_process", fails)
    assert million.main(["--bots", "10"]) == 1
    assert list(tmp_path.iterdir()) == []
