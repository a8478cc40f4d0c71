"""The next version's name: one more than the highest, whatever people called theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.versions import (
    EMPTY_GRAPH,
    MAX_LENGTH,
    NEXT_DRAFTS,
    draft_after,
    next_version,
)
from worker.core.workflow import v2

NINES = "9" * 48


@pytest.mark.parametrize(
    ("names", "following"),
    [
        ([], "v1.0"),
        (["draft"], "v1.0"),
        (["draft", "v1.0"], "v1.1"),
        (["v1.9", "v1.0"], "v1.10"),
        (["v1.10", "v1.9"], "v1.11"),
        (["V2"], "v2.1"),
        (["v2", "v10", "v9.7"], "v10.1"),
        (["v1.2.3"], "v1.3"),
        (["release", "final (2)", "", "v", "v.1", "1.5", "v1.x", "v-1.0", "v١.٢"], "v1.0"),
        ([" v1.4 "], "v1.5"),
        (["v01.007"], "v1.8"),
        (["v1.0", "v0.9"], "v1.1"),
        # No room for one more in the second number: the first counts on.
        (["v1." + "9" * 47], "v2.0"),
        # In neither: the highest that leaves room.
        ([f"v{NINES}9"], "v1.0"),
        ([f"v{NINES}9", "v1.3"], "v1.4"),
        (["v1." + "9" * 47, "v1." + "9" * 46 + "8"], "v2.0"),
        (["v" + "9" * 5_000], "v1.0"),
        # The one after the lower number is there already.
        (["v" + "9" * 47 + ".9", "v" + "9" * 47 + ".8"], "v1.0"),
    ],
)
def test_the_next_version_is_one_more_than_the_highest(names: list[str], following: str) -> None:
    assert next_version(names) == following


def test_where_no_name_is_free_it_says_so() -> None:
    with pytest.raises(ValueError, match="no version of at most 3 characters is free"):
        next_version(["draft"], max_length=3)


ODD = st.text(alphabet="vV0123456789. abcé", max_size=MAX_LENGTH) | st.builds(
    "{}{}.{}".format, st.sampled_from("vV"), st.integers(0, 10**46), st.integers(0, 10**46)
).map(lambda name: name[:MAX_LENGTH])


@examples(300)
@given(st.lists(ODD, max_size=6))
def test_the_next_version_is_free_fits_and_does_not_depend_on_the_order(names: list[str]) -> None:
    following = next_version(names)

    assert following.lower() not in {name.lower() for name in names}
    assert len(following) <= MAX_LENGTH
    assert next_version(names[::-1]) == following


@examples(100)
@given(st.integers(1, 60))
def test_publishing_again_and_again_counts_on(times: int) -> None:
    names = ["draft"]
    for _ in range(times):
        names.append(next_version(names))

    assert names[1:] == [f"v1.{number}" for number in range(times)]


def test_a_published_draft_leaves_an_empty_one_or_a_copy() -> None:
    graph = b'{"nodes": [{"id": "start", "type": "start"}], "edges": []}'

    assert NEXT_DRAFTS == ("empty", "copy")
    assert draft_after(graph, "copy") == graph
    assert draft_after(graph, "empty") == EMPTY_GRAPH
    assert v2.is_empty(EMPTY_GRAPH)
