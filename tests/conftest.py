"""Servers, databases and namespaces for the tests.

With FLOWSHIFT_DATABASE_URL and FLOWSHIFT_REDIS_URL set, the whole suite runs against those servers
(it makes databases of its own there, and keys under prefixes of its own); otherwise against servers
started in a temporary data directory.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import shutil
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from hypothesis import is_hypothesis_test

from migrations import upgrade
from tests.compiled import share_compiled_statements
from tests.fleet import Fleet
from tests.measuring import unmeasured
from tests.roles import Role, grant
from tests.scheduling import BothCoresBusy, is_of_day
from tests.strategies import at_night
from worker import log, runtime
from worker.db.engine import create_engine, database_url
from worker.runtime import Runtime
from worker.servers import embedded
from worker.servers.connect import Servers
from worker.settings import Settings

GIVEN = Servers(
    os.environ.pop("FLOWSHIFT_DATABASE_URL", ""), os.environ.pop("FLOWSHIFT_REDIS_URL", "")
)
# Memory, where there is plenty: making a database for each test takes a tenth of the time there.
_MEMORY = Path("/dev/shm")
if (
    "TMPDIR" not in os.environ
    and _MEMORY.is_dir()
    and shutil.disk_usage(_MEMORY).free > 4 << 30
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
# Nothing that the person at the keyboard has set may steer a test.
for name in [name for name in os.environ if name.startswith("FLOWSHIFT_")]:
    del os.environ[name]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would compile all of ours
# A shell starts what runs in its background deaf to Ctrl-C, and so would be what is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
share_compiled_statements()


UNMEASURED = ("hypothesis", "acceptance", "unmeasured")
"""Marks of tests in which no coverage is measured."""


LIVE_TESTS = os.environ.get("LIVE_TESTS", "all")
"""Which tests of real processes are run: `all`, or the eighth of this `day`."""


MEASURED_CASES = 5
"""Of the cases of one unit test so many are measured: the others go the same ways."""


def _more_cases(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """The cases of unit tests beyond `MEASURED_CASES` of each."""
    cases: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        cases[test] += 1
        if cases[test] > MEASURED_CASES and test.startswith("tests/unit/"):
            yield item


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests of generated examples, and those of real processes, the time that they may take."""
    if LIVE_TESTS == "day":
        today = dt.datetime.now(dt.UTC).date()
        live = [item for item in items if item.get_closest_marker("acceptance")]
        left = [item for item in live if not is_of_day(item.nodeid, today)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]
    for item in _more_cases(items):
        item.add_marker(pytest.mark.unmeasured)
    for item in items:
        if item.get_closest_marker("acceptance"):
            item.add_marker(pytest.mark.timeout(300))
        # (The plugin of Hypothesis sets its marker later than this.)
        if item.get_closest_marker("hypothesis") or is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.timeout(0 if at_night() else 300))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BothCoresBusy:
    """Which process of pytest-xdist runs what."""
    return BothCoresBusy(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Measure no coverage in a test of generated examples, of live processes, or `unmeasured`.

    It reaches what the written-out tests should reach already, and measuring makes one that repeats
    much three times as slow.
    """
    if not any(map(item.get_closest_marker, UNMEASURED)):
        return (yield)
    with unmeasured():
        return (yield)


@pytest.fixture(autouse=True, scope="session")
def measure_ourselves_alone() -> None:
    """Measure no coverage in the processes that tests start: a thousand, and it takes a second of each."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """Logs go to standard error, as they do in every process of ours."""
    log.configure(log_format="json", level="warning")


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A data directory that root's servers can reach too; nothing of it stays."""
    path = Path(tempfile.mkdtemp(prefix="flowshift-tests-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(data_dir: Path) -> Iterator[Servers]:
    """PostgreSQL and Redis for the whole session."""
    if GIVEN.database_url and GIVEN.redis_url:
        yield GIVEN
        return
    with embedded.attach(data_dir) as attachment:
        started = attachment.endpoints
        _care_for_speed_alone(started.database_url)
        yield Servers(
            GIVEN.database_url or started.database_url, GIVEN.redis_url or started.redis_url
        )


def _care_for_speed_alone(url: str) -> None:
    """Let a PostgreSQL that nobody will miss skip the disk: no test pulls the plug on this one."""
    engine = sa.create_engine(database_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("ALTER SYSTEM SET fsync = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    engine.dispose()


@pytest.fixture(scope="session")
def server_url(servers: Servers) -> str:
    """The URL of a database on the server from which others can be made."""
    return servers.database_url


@pytest.fixture(scope="session")
def admin(server_url: str) -> Iterator[sa.Engine]:
    """An engine that makes and drops databases."""
    engine = sa.create_engine(database_url(server_url), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def make_database(admin: sa.Engine, template: str = "template0") -> str:
    """A new database, a copy of `template`; returns its URL."""
    name = f"flowshift_test_{uuid.uuid4().hex[:16]}"
    with admin.connect() as connection:
        # Names of ours: nothing to quote.
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'"))
    return admin.url.set(database=name).render_as_string(hide_password=False)


def drop_database(admin: sa.Engine, url: str) -> None:
    """Drop a database, whoever is connected to it."""
    with admin.connect() as connection:
        connection.execute(
            sa.text(f"DROP DATABASE IF EXISTS {sa.make_url(url).database} WITH (FORCE)")
        )


@pytest.fixture
def empty_database(admin: sa.Engine) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    url = make_database(admin)
    yield url
    drop_database(admin, url)


@pytest.fixture(scope="session")
def role(admin: sa.Engine) -> Iterator[Role]:
    """The role that workers and commands run as, with rights in `template` and its copies alone."""
    made = Role(f"flowshift_test_{uuid.uuid4().hex[:16]}", secrets.token_urlsafe(24))
    yield made
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP ROLE IF EXISTS {made.name}"))


@pytest.fixture(scope="session")
def template(admin: sa.Engine, role: Role) -> Iterator[str]:
    """The name of a database with our tables, for copying."""
    url = make_database(admin)
    engine = create_engine(
        database_url(url),
        lock_timeout_ms=5_000,
        statement_timeout_ms=60_000,
        application_name="flowshift tests",
    )
    upgrade.upgrade(engine)
    engine.dispose()
    grant(url, role)
    yield str(sa.make_url(url).database)
    drop_database(admin, url)


@pytest.fixture
def database(admin: sa.Engine, template: str) -> Iterator[str]:
    """The URL of a database with our tables and no bots."""
    url = make_database(admin, template)
    yield url
    drop_database(admin, url)


@pytest.fixture
def namespace(servers: Servers) -> Iterator[str]:
    """A prefix for keys and queues; what begins with it is removed."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    with redis.Redis.from_url(servers.redis_url) as client:
        for key in client.scan_iter(f"*{name}*", count=1000):
            client.delete(key)


@pytest.fixture
def settings(servers: Servers, database: str, namespace: str, tmp_path: Path) -> Settings:
    """Settings of this test's own database and namespace."""
    return Settings(
        database_url=database,
        redis_url=servers.redis_url,
        namespace=namespace,
        data_dir=str(tmp_path / "data"),
        batch_size=50,
        progress_interval_ms=0,
    )


@pytest.fixture
def current(settings: Settings) -> Iterator[Runtime]:
    """The runtime of this process, on this test's database."""
    yield runtime.configure(settings)
    runtime.shutdown()


@pytest.fixture
def environment(settings: Settings, role: Role) -> dict[str, str]:
    """The environment of a subprocess with this test's settings, and no right beyond a worker's."""
    changed = {
        f"FLOWSHIFT_{name.upper()}": str(getattr(settings, name))
        for name in ("redis_url", "namespace", "data_dir", "batch_size")
    }
    changed["FLOWSHIFT_WEB_PORT"] = "0"
    return {**os.environ, **changed, "FLOWSHIFT_DATABASE_URL": role.url(settings.database_url)}


@pytest.fixture
def publisher(database: str, role: Role, admin: sa.Engine) -> Iterator[Role]:
    """A publisher in this test's database."""
    made = Role(f"flowshift_test_{uuid.uuid4().hex[:16]}", "p\"'$x")
    grant(database, role, made)
    yield made
    engine = sa.create_engine(database_url(database))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {made.name}")
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP ROLE {made.name}"))


@pytest.fixture
def fleet(current: Runtime) -> Fleet:
    """The bots of this test's own database, and runs over them."""
    return Fleet(current)
