"""What docker-compose.yml, its Dockerfile and .env.example promise, as far as no engine is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml
from celery.bin.celery import celery

from worker.cli import cli
from worker.queue.names import celery_name
from worker.settings import PREFIX, Settings

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
EXAMPLE = (CHECKOUT / ".env.example").read_text()

OURS = {"migrate-db", "worker", "publisher", "beat", "flower", "serve", "cli"}
ONE_SHOT = {"migrate-db", "roles", "cli"}
SETTINGS = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
SECRETS = {
    "POSTGRES_PASSWORD",
    "WORKER_PASSWORD",
    "PUBLISHER_PASSWORD",
    "REDIS_PASSWORD",
    "FLOWSHIFT_FLOWER_BASIC_AUTH",
}
URLS = {
    "FLOWSHIFT_BROKER_URL",
    "FLOWSHIFT_DATABASE_URL",
    "WORKER_DATABASE_URL",
    "PUBLISHER_DATABASE_URL",
}
# ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ is a dollar sign for the container.
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
COMPOSE = next(
    (
        command
        for command in (["docker", "compose"], ["docker-compose"])
        if shutil.which(command[0])
        and not subprocess.run([*command, "version"], check=False, capture_output=True).returncode
    ),
    None,
)

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def words_of(name: str) -> list[str]:
    """The whole command line of a service of ours; the image's entry point where it has none."""
    service = SERVICES[name]
    return [*service.get("entrypoint", exec_form("ENTRYPOINT")), *service["command"]]


def exec_form(instruction: str) -> list[str]:
    """The words of an instruction of the Dockerfile; a shell form is no JSON and fails here."""
    (line,) = re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The click command that a command line leads to, and what is left for it."""
    command: click.Command = {"flowshift": cli, "celery": celery}[words[0]]
    rest = words[1:]
    if rest[:2] == ["-A", "worker.app"]:
        rest = rest[2:]
    while rest and isinstance(command, click.Group) and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, rest[0]
        command = found
        rest = rest[1:]
    return command, rest


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)
    elif isinstance(value, str):
        yield value


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration.removesuffix("s"))


def test_every_service_is_one_that_these_tests_know() -> None:
    assert set(SERVICES) == OURS | {"postgres", "redis", "roles"}


@each_of_ours
def test_a_command_exists_with_all_its_options(name: str) -> None:
    command, rest = command_of(words_of(name))

    known = {option for parameter in command.params for option in parameter.opts}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    known |= {"--help"}
    for word in rest:
        assert word.partition("=")[0] in known


@each_service
def test_whatever_keeps_running_has_a_health_check_and_is_started_again(name: str) -> None:
    service = SERVICES[name]

    if name in ONE_SHOT:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD", "without a shell"
    assert {"interval", "timeout", "retries", "start_period"} < set(service["healthcheck"])


@pytest.mark.parametrize("name", ["worker", "publisher", "beat", "flower", "serve"])
def test_a_health_check_asks_for_the_heartbeat_of_what_runs_in_its_container(name: str) -> None:
    _, *words = SERVICES[name]["healthcheck"]["test"]

    kind = "worker" if name == "publisher" else name
    assert words == ["flowshift", "health", kind, "--here"]
    command, rest = command_of(words)
    assert rest == [kind, "--here"]
    assert "--here" in {option for parameter in command.params for option in parameter.opts}


def test_only_flower_and_the_pages_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {
        "flower": ["127.0.0.1:${FLOWSHIFT_FLOWER_PORT:-5555}:5555"],
        "serve": ["127.0.0.1:${FLOWSHIFT_WEB_PORT:-5556}:5556"],
    }
    assert SERVICES["flower"]["environment"]["FLOWSHIFT_FLOWER_PORT"] == "5555"
    assert SERVICES["serve"]["environment"]["FLOWSHIFT_WEB_PORT"] == "5556"
    assert not any("network_mode" in service for service in SERVICES.values())


def test_the_pages_ask_who_comes_by_a_file_that_they_cannot_change() -> None:
    serve = SERVICES["serve"]

    assert serve["environment"]["FLOWSHIFT_WEB_ADDRESS"] == "0.0.0.0"
    (mount,) = serve["volumes"]
    assert mount["target"] == serve["environment"]["FLOWSHIFT_WEB_USERS"]
    assert mount["source"] == "${WEB_USERS_FILE:-./web-users}"
    assert mount["read_only"] is True
    assert mount["bind"] == {"create_host_path": False}
    assert "web-users" in (CHECKOUT / ".gitignore").read_text().split()


@each_service
def test_no_secret_is_on_a_command_line(name: str) -> None:
    service = SERVICES[name]

    shown = [service.get(key) for key in ("entrypoint", "command", "healthcheck", "labels")]
    used = {match["name"] for text in strings_in(shown) for match in VARIABLE.finditer(text)}
    assert not used & (SECRETS | URLS)


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_a_secret_has_no_default_and_its_absence_is_explained(secret: str) -> None:
    uses = [match["rest"] for match in VARIABLE.finditer(TEXT) if match["name"] == secret]

    assert uses
    assert all(rest.startswith(f":?set {secret} ") for rest in uses)


@each_service
def test_every_setting_is_one_of_ours(name: str) -> None:
    given = {key for key in SERVICES[name].get("environment", {}) if key.startswith(PREFIX)}

    assert given <= SETTINGS
    assert name not in OURS or {"FLOWSHIFT_DATABASE_URL", "FLOWSHIFT_REDIS_URL"} <= given


def test_the_example_documents_every_variable_and_no_other() -> None:
    documented = re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE)
    used = {match["name"] for match in VARIABLE.finditer(TEXT)}

    assert sorted(documented) == sorted(used | {"COMPOSE_PROJECT_NAME"})
    assert {name for name in documented if name.startswith(PREFIX)} <= SETTINGS


def test_the_example_holds_no_secret_and_the_defaults_of_the_compose_file() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))

    assert {example[secret] for secret in SECRETS} == {""}
    for match in VARIABLE.finditer(TEXT):
        default = match["rest"].removeprefix(":-")
        if match["name"] not in SECRETS and example[match["name"]]:
            assert default in (example[match["name"]], "")


@each_service
def test_a_container_can_do_and_write_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)


def test_nobody_is_root() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert {
        name: service.get("user") for name, service in SERVICES.items() if name not in OURS
    } == {
        "postgres": "postgres",
        "redis": "redis",
        "roles": "postgres",
    }
    assert not any("user" in SERVICES[name] for name in OURS)


def test_the_worker_can_be_scaled() -> None:
    assert not {"container_name", "hostname", "ports", "volumes"} & set(SERVICES["worker"])


def test_the_image_is_built_once() -> None:
    assert [name for name in OURS if "build" in SERVICES[name]] == ["migrate-db"]
    assert len({SERVICES[name]["image"] for name in OURS}) == 1


def test_a_worker_has_the_time_to_hand_back_what_it_cannot_finish() -> None:
    worker = SERVICES["worker"]
    assert worker["stop_signal"] == "SIGTERM"
    assert worker["init"] is True, "which passes the signal to the main process only"
    grace_s = seconds(worker["stop_grace_period"])
    assert grace_s >= Settings().shutdown_s + 5


@each_of_ours
def test_a_container_of_ours_has_bounded_memory_and_processes(name: str) -> None:
    service = SERVICES[name]
    processes = {"worker": 2, "cli": 2, "publisher": 1}.get(name)
    child_mb = Settings().child_memory_mb
    default = re.sub(r"^\$\{WORKER_MEMORY:-(.*)\}$", r"\1", service["mem_limit"])
    assert default == (f"{processes * child_mb + 256}m" if processes else "512m")
    assert service["pids_limit"] == 256


@each_of_ours
def test_every_process_of_ours_is_told_of_another_queue(name: str) -> None:
    assert SERVICES[name]["environment"]["FLOWSHIFT_BROKER_URL"] == "${FLOWSHIFT_BROKER_URL:-}"


def test_nothing_works_before_the_tables_are_there() -> None:
    for name in ("worker", "publisher", "beat", "flower", "serve", "cli"):
        assert SERVICES[name]["depends_on"] == {
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
            "roles": {"condition": "service_completed_successfully"},
        }
    assert SERVICES["roles"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "migrate-db": {"condition": "service_completed_successfully"},
    }
    assert SERVICES["migrate-db"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_each_process_has_the_role_that_its_work_needs() -> None:
    def who(name: str) -> tuple[str, str]:
        environment = SERVICES[name]["environment"]
        user = re.search(r"//(\w+)@", environment["FLOWSHIFT_DATABASE_URL"])
        secret = VARIABLE.search(environment["PGPASSWORD"])
        assert user
        assert secret
        return user[1], secret["name"]

    assert {name: who(name) for name in OURS} == {
        **dict.fromkeys(("migrate-db", "cli"), ("flowshift", "POSTGRES_PASSWORD")),
        **dict.fromkeys(
            ("worker", "beat", "flower", "serve"), ("flowshift_worker", "WORKER_PASSWORD")
        ),
        "publisher": ("flowshift_publisher", "PUBLISHER_PASSWORD"),
    }
    assert not any("--queues" in word for word in SERVICES["worker"]["command"])
    queue = "--queues=${FLOWSHIFT_NAMESPACE:-flowshift}:publish"
    assert queue in SERVICES["publisher"]["command"]
    assert celery_name(Settings().namespace, "publish") == "flowshift:publish"


def test_redis_keeps_what_it_was_given() -> None:
    script = SERVICES["redis"]["command"][-1]

    for line in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"):
        assert f"\n{line}\n" in script


def test_what_is_kept_is_on_a_named_volume_that_our_user_may_write() -> None:
    volumes = {name: SERVICES[name].get("volumes", []) for name in SERVICES}

    del volumes["serve"]
    assert {name: mounts for name, mounts in volumes.items() if mounts} == {
        "postgres": ["postgres-data:/var/lib/postgresql/data"],
        "redis": ["redis-data:/data"],
        "beat": ["beat-state:/var/lib/flowshift"],
        "flower": ["flower-state:/var/lib/flowshift"],
        "roles": ["./migrations/role.sql:/role.sql:ro"],
    }
    assert (CHECKOUT / "migrations" / "role.sql").is_file()
    declared = set(yaml.safe_load(TEXT)["volumes"])
    assert declared == {
        mount.partition(":")[0]
        for mounts in volumes.values()
        for mount in mounts
        if not mount.startswith("./")
    }
    # A new volume takes over the owner of the image's directory.
    assert "install -d -o flowshift -g flowshift -m 0700 /var/lib/flowshift" in DOCKERFILE
    assert "FLOWSHIFT_DATA_DIR=/var/lib/flowshift" in DOCKERFILE
    assert "/var/lib/flowshift:uid=10001,gid=10001,mode=700" in SERVICES["cli"]["tmpfs"]


def test_the_image_names_no_package_index_and_installs_only_what_was_checked() -> None:
    assert "://" not in DOCKERFILE
    uses = re.findall(
        r"(?m)^(?!#).*\bpip (?:--python \S+ )?(download|install|wheel) (.*)", DOCKERFILE
    )
    assert sorted(verb for verb, _ in uses) == ["download", "install", "install", "wheel"]
    for verb, options in uses:
        assert ("--require-hashes" if verb == "download" else "--no-index") in options


def test_the_image_gets_everything_that_the_wheel_is_made_of_and_no_env_file() -> None:
    allowed = re.findall(r"^!(\S+)$", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY ([^-].*) \S+$", DOCKERFILE, re.MULTILINE)

    assert sorted(allowed) == sorted(name for line in copied for name in line.split())


@pytest.mark.skipif(
    COMPOSE is None, reason="there is no docker compose here; its syntax is untested"
)
@pytest.mark.parametrize("missing", [None, *sorted(SECRETS)])
def test_compose_takes_the_file_and_refuses_it_without_a_secret(missing: str | None) -> None:
    assert COMPOSE is not None
    given = {secret: "x" for secret in SECRETS if secret != missing}
    environ = {key: value for key, value in os.environ.items() if key not in SECRETS} | given

    done = subprocess.run(
        [
            *COMPOSE,
            "--env-file",
            ".env.example",
            "--file",
            "docker-compose.yml",
            "config",
            "--quiet",
        ],
        check=False,
        cwd=CHECKOUT,
        env=environ,
        capture_output=True,
        text=True,
    )

    assert (done.returncode == 0) is (missing is None), done.stderr
    assert missing is None or f"set {missing} " in done.stderr
