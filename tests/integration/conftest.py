"""The command line in this process, with a test's own settings."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from worker import cli
from worker.settings import Settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def flowshift(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command with this test's settings: (exit code, standard output, standard error)."""
    for name in ("database_url", "redis_url", "namespace", "data_dir", "batch_size"):
        monkeypatch.setenv(f"FLOWSHIFT_{name.upper()}", str(getattr(settings, name)))

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flowshift", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
