"""A Redis in cluster mode is refused when a command starts, with the way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis

from tests.live import eventually
from worker.errors import ConfigError
from worker.servers.connect import check_redis
from worker.servers.embedded.binaries import find_binaries


def test_a_redis_in_cluster_mode_is_refused(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    command = [str(find_binaries().redis_server), "--port", "0", "--unixsocket", str(socket)]
    command += ["--cluster-enabled", "yes", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            eventually(lambda: process.poll() is not None or (socket.exists() and client.ping()))
        if process.poll() is not None:
            pytest.skip("this Redis needs a port for cluster mode")
        with pytest.raises(ConfigError, match=r"cluster mode.*RabbitMQ"):
            check_redis(f"unix://{socket}")
    finally:
        process.kill()
        process.wait()
