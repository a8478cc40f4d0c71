"""Settings: read from the environment once, and every mistake reported by the name of its setting."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from worker.errors import ConfigError
from worker.settings import PREFIX, Settings, load


def refused(**environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    return caught.value


def test_without_an_environment_every_setting_has_its_default() -> None:
    assert load({}) == Settings()


def test_a_setting_is_read_under_its_name() -> None:
    settings = load(
        {
            "FLOWSHIFT_BATCH_SIZE": "50",
            "FLOWSHIFT_NAMESPACE": "blue-2",
            "FLOWSHIFT_LOG_FORMAT": "json",
            "FLOWSHIFT_DATABASE_URL": "postgresql://db/platform",
        }
    )

    assert settings == Settings(
        batch_size=50,
        namespace="blue-2",
        log_format="json",
        database_url="postgresql://db/platform",
    )


def test_an_empty_value_counts_as_not_set() -> None:
    assert load({"FLOWSHIFT_BATCH_SIZE": "", "FLOWSHIFT_NAMESPACE": ""}) == Settings()


def test_what_belongs_to_somebody_else_is_left_alone() -> None:
    environ = {
        "PATH": "/bin",
        "BATCH_SIZE": "x",
        "MY_FLOWSHIFT_BATCH_SIZE": "x",
        "FLOWSHIFTS": "x",
        "FLOWSHIFT_TEST_KEEP": "1",
    }

    assert load(environ) == Settings()


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("FLOWSHIFT_BACH_SIZE", "; did you mean FLOWSHIFT_BATCH_SIZE?"),
        ("FLOWSHIFT_REDIS", "; did you mean FLOWSHIFT_REDIS_URL?"),
        ("FLOWSHIFT_batch_size", "; did you mean FLOWSHIFT_BATCH_SIZE?"),
        ("FLOWSHIFT_", ""),
        ("FLOWSHIFT_ZZZZZZZZZZZZ", ""),
    ],
)
def test_an_unknown_setting_is_refused_with_the_one_that_may_be_meant(
    name: str, suggestion: str
) -> None:
    error = refused(**{name: "1"})

    assert error.setting == name
    assert str(error).startswith(f"{name}: there is no such setting")
    assert str(error).endswith(suggestion)


@pytest.mark.parametrize("lowest_and_highest", [("1", "10000")])
def test_the_bounds_of_a_setting_are_within_it(lowest_and_highest: tuple[str, str]) -> None:
    assert [load({"FLOWSHIFT_BATCH_SIZE": size}).batch_size for size in lowest_and_highest] == [
        *(1, 10_000),
    ]


def test_of_several_mistakes_the_first_by_name_is_reported() -> None:
    error = refused(FLOWSHIFT_LEASE_S="0", FLOWSHIFT_BATCH_SIZE="0", FLOWSHIFT_NAMESPACE="!")

    assert error.setting == "FLOWSHIFT_BATCH_SIZE"


def test_heartbeats_rarer_than_a_third_of_a_lease_are_refused() -> None:
    assert load({"FLOWSHIFT_HEARTBEAT_S": "2", "FLOWSHIFT_LEASE_S": "6"}).heartbeat_s == 2

    assert str(refused(FLOWSHIFT_LEASE_S="29")) == (
        "FLOWSHIFT_HEARTBEAT_S: it is 10, more than a third of FLOWSHIFT_LEASE_S (29), so that a worker at "
        "work could count as lost: set it to at most 9, or FLOWSHIFT_LEASE_S to at least 30"
    )


def test_a_soak_that_ends_before_a_wave_could_pass_is_refused() -> None:
    assert load({"FLOWSHIFT_GATE_MAX_SOAK_S": "1800"}).gate_max_soak_s == 1_800

    assert str(refused(FLOWSHIFT_GATE_MAX_SOAK_S="1799")) == (
        "FLOWSHIFT_GATE_MAX_SOAK_S: it is 1799, less than FLOWSHIFT_GATE_MIN_SOAK_S (1800), so that no "
        "wave could pass: set it to at least as much"
    )


def test_a_default_fits_its_own_setting() -> None:
    defaults = msgspec.structs.asdict(Settings())
    environ = {f"{PREFIX}{name.upper()}": str(value) for name, value in defaults.items()}

    assert load(environ) == Settings()


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_every_setting_says_what_it_is(field: msgspec.structs.FieldInfo) -> None:
    described = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"][field.name]

    assert described["description"].endswith(".")


def test_the_data_directory_is_absolute_and_the_users_own_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)

    assert Settings().data_path == tmp_path / "share" / "flowshift"
    assert Settings(data_dir="here").data_path == tmp_path / "here"
    assert Settings(data_dir="~/there").data_path == tmp_path / "there"
    assert Settings(data_dir="/var/lib/x").data_path == Path("/var/lib/x")
    assert not (tmp_path / "here").exists()


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().batch_size = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    "name", ["FLOWSHIFT_DATABASE_URL", "FLOWSHIFT_REDIS_URL", "FLOWSHIFT_BROKER_URL"]
)
def test_urls_are_read_and_never_judged_here(name: str) -> None:
    settings = load({name: "anything: s3cret"})

    assert "anything: s3cret" in msgspec.structs.astuple(settings)
