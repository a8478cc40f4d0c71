"""The target `guide` on the workflows that are written against templates, ids and keys."""

from __future__ import annotations

from hypothesis import given

from tests.builders import Json, as_text
from tests.strategies import examples
from tests.unit.core.parity.test_faithful import assert_faithful
from tests.unit.core.targets.test_answer_hostile import hostile, messages


@given(hostile(), messages())
@examples(400)
def test_a_hostile_workflow_does_in_a_draft_what_it_did_in_v1(workflow: Json, message: str) -> None:
    assert_faithful(as_text(workflow), message)
