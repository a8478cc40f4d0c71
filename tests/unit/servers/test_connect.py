"""Redis URLs: shown without credentials, and read by Celery as redis-py reads them."""

from __future__ import annotations

import ssl
from typing import Any

import kombu
import pytest
import redis

from worker.errors import ConfigError
from worker.servers.connect import Servers, broker_url, redis_place, refuse_old_redis

BAD = [
    "",
    "cache:6379",
    "me:s3cret@cache:6379",
    "http://me:s3cret@cache/0",
    "redis://:s3cret@cache/abc",
    "rediss://:s3cret@cache/0x1",
    "postgresql://me:s3cret@cache/0",
    "redis://me:s3cret@cache:port/0",
    "redis://me:s3cret@[::1/0",
    "redis+socket://me:s3cret@/run/redis.sock",
]


# -- for people ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://cache", "Redis at cache:6379, database 0"),
        ("redis://cache:6380/2", "Redis at cache:6380, database 2"),
        ("redis://me:s3cret@cache/2", "Redis at cache:6379, database 2"),
        ("redis://cache/2?db=5", "Redis at cache:6379, database 5"),
        ("redis://", "Redis at localhost:6379, database 0"),
        ("rediss://cache:6380/0", "Redis at cache:6380, database 0"),
        ("unix:///run/redis.sock", "Redis at /run/redis.sock, database 0"),
        ("unix://me:s3cret@/run/redis.sock?db=3", "Redis at /run/redis.sock, database 3"),
    ],
)
def test_a_place_is_shown_with_its_database_and_without_credentials(url: str, place: str) -> None:
    assert redis_place(url) == place


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_redis_url_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        redis_place(url)

    assert caught.value.setting == "FLOWSHIFT_REDIS_URL"
    assert "s3cret" not in str(caught.value)
    assert "cache" not in str(caught.value)


# -- for Celery ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6380/2",
        "redis://cache/2?db=5",
        "redis://:s3cret@cache/0",
        "redis://me:s3cret@cache:6380/2",
        "redis://me:s3%40%2F%3Acret@cache:6380/2",
        "redis://m%40e:s3cret@[::1]:7/1",
        "rediss://me:s3cret@cache:6380/2",
        "redis://cache/1?socket_timeout=5&health_check_interval=30",
    ],
)
def test_celery_reads_the_same_server_user_and_database_as_redis_py(url: str) -> None:
    ours = redis.ConnectionPool.from_url(url).connection_kwargs
    theirs = kombu.Connection(broker_url(url))

    assert theirs.hostname == ours.get("host", "localhost")
    assert theirs.port == ours.get("port", 6379)
    assert theirs.virtual_host == str(ours.get("db", 0))
    assert (theirs.userid or None) == ours.get("username")
    assert (theirs.password or None) == ours.get("password")


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        (
            "unix://me:s3%2Fcret@/run/redis.sock?db=3",
            "redis+socket://me:s3%2Fcret@/run/redis.sock?virtual_host=3",
        ),
        (
            "unix:///run/redis.sock?username=me&password=s3cret",
            "redis+socket://me:s3cret@/run/redis.sock?virtual_host=0",
        ),
    ],
)
def test_a_socket_has_another_scheme_for_celery(url: str, broker: str) -> None:
    assert broker_url(url) == broker


def tls_of(url: str) -> dict[str, Any]:
    """What Celery's transport reads about TLS."""
    settings = kombu.Connection(broker_url(url)).ssl
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://cache/0", ssl.CERT_REQUIRED),
        ("rediss://cache/0?ssl_cert_reqs=required", ssl.CERT_REQUIRED),
        ("rediss://cache/0?ssl_cert_reqs=optional", ssl.CERT_OPTIONAL),
        ("rediss://cache/0?ssl_cert_reqs=none", ssl.CERT_NONE),
    ],
)
def test_tls_is_verified_unless_the_url_says_otherwise(url: str, verified: ssl.VerifyMode) -> None:
    assert tls_of(url)["ssl_cert_reqs"] == verified


def test_a_certificate_authority_is_passed_on() -> None:
    assert tls_of("rediss://cache/0?ssl_ca_certs=/etc/ca.pem")["ssl_ca_certs"] == "/etc/ca.pem"


@pytest.mark.parametrize("url", BAD)
def test_celery_is_not_given_what_is_no_redis_url(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_url(url)

    assert "s3cret" not in str(caught.value)


def test_servers_know_celerys_url() -> None:
    servers = Servers("postgresql://db/x", "unix:///run/redis.sock")

    assert servers.broker_url == "redis+socket:///run/redis.sock?virtual_host=0"


# -- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["6.0.0", "6.2.14", "7.4.1", "10.0.0", "255.255.255"])
def test_redis_6_and_newer_is_fine(version: str) -> None:
    refuse_old_redis(version, "Redis at cache:6379")


@pytest.mark.parametrize("version", ["5.0.14", "5.9.103", "2.8.0"])
def test_an_older_redis_is_refused_with_its_place(version: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_old_redis(version, "Redis at cache:6379")

    assert str(caught.value) == (
        f"FLOWSHIFT_REDIS_URL: Redis at cache:6379 is version {version}; 6 or newer is needed"
    )
