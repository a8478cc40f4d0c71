"""The socket that pages are served on."""

from __future__ import annotations

import socket

from worker.processes.ports import listen


def test_a_connection_sends_each_piece_of_an_answer_at_once() -> None:
    with listen("127.0.0.1", 0, who="the test", setting="") as bound:
        bound.listen()
        with socket.create_connection(bound.getsockname()):
            accepted, _ = bound.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
