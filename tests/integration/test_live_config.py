"""The providers of live trials, at the start of a process."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from celery.signals import celeryd_init

import worker.app  # noqa: F401 - what listens to the signal
from worker import runtime
from worker.errors import ConfigError
from worker.settings import Settings

FILE = '[[provider]]\nname = "one"\nbase_url = "http://127.0.0.1:1/v1"\napi_key_env = "TEST_KEY"\n'


@pytest.fixture
def configured(settings: Settings, tmp_path: Path) -> Settings:
    path = tmp_path / "providers.toml"
    path.write_text(FILE)
    return msgspec.structs.replace(settings, providers=str(path))


def test_a_process_knows_the_providers_from_its_start(configured: Settings) -> None:
    try:
        current = runtime.configure(configured)
        Path(configured.providers).unlink()

        assert current.live is not None
        assert [one.name for one in current.live.provider] == ["one"]
        current.pid = -1  # as in a child that was forked
        assert runtime.runtime() is not current
        assert runtime.runtime().live == current.live
    finally:
        runtime.shutdown()


def test_without_the_setting_there_are_none(settings: Settings) -> None:
    try:
        assert runtime.configure(settings).live is None
    finally:
        runtime.shutdown()


def test_a_wrong_file_stops_a_process_before_anything_is_started(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text("[[provider]]\nnmae = 'one'\n")

    with pytest.raises(ConfigError, match="did you mean name"):
        runtime.configure(Settings(providers=str(path), data_dir=str(tmp_path / "data")))

    assert not (tmp_path / "data").exists()


def test_a_worker_does_not_start_without_the_keys_and_says_which(
    configured: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    monkeypatch.setattr("worker.log.capture", lambda: None)  # it would outlive this test
    runtime.configure(configured)
    try:
        with pytest.raises(SystemExit) as ended:
            celeryd_init.send(sender="worker@test")
        assert ended.value.code == 3
        assert "one needs its key in the environment variable TEST_KEY" in capsys.readouterr().err

        monkeypatch.setenv("TEST_KEY", "sk-1")
        celeryd_init.send(sender="worker@test")
    finally:
        runtime.shutdown()
