"""A draft as a file: what comes back is what went out, without the key that says where from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.workflow.draft_file import KEY, MAX_FILE_BYTES, Origin, read, write
from worker.errors import BotError

FROM = Origin("bot\u202e", "state")


@pytest.mark.parametrize(
    "graph",
    [
        b'{"nodes":[1.50,1e400,-0.0,123456789012345678901234567890]}',
        '{"키":{"a\\u202eb":null},"edges":[]}'.encode(),
        b"{}",
    ],
)
def test_a_graph_comes_back_byte_for_byte_with_its_origin(graph: bytes) -> None:
    found = read(write(graph, FROM))
    assert (found.graph, found.origin) == (graph, FROM)


def test_an_origin_that_a_graph_holds_by_mistake_is_replaced() -> None:
    stale = b'{"' + KEY.encode() + b'":{"bot_id":"x","state":"y"},"nodes":[]}'
    found = read(write(stale, FROM))
    assert (found.graph, found.origin) == (b'{"nodes":[]}', FROM)


def test_a_graph_that_is_no_object_can_be_looked_at() -> None:
    assert b'"graph": [' in write(b"[1]", FROM)
    assert write(b"[" * 5_000 + b"]" * 5_000, FROM).endswith(b"}")


def test_a_file_over_the_limit_is_not_parsed() -> None:
    with pytest.raises(BotError, match="the file has over") as refused:
        read(b"{" * (MAX_FILE_BYTES + 1))
    assert refused.value.code == "too_large"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_graph_or_a_bot_error(text: bytes) -> None:
    code = None
    try:
        read(text)
    except BotError as error:
        code = error.code
    assert code in (None, "invalid_text", "too_large", "not_a_workflow")
