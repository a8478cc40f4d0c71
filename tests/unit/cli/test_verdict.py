"""What `show` says where no draft can do what V1 does."""

from __future__ import annotations

import io

from tests.builders import DEFAULTS, a_draft, a_workflow, an_llm, as_text
from tests.graphs import BUILT_IN, Clock, Saying
from worker.cli.printing import Console
from worker.cli.views.parity import print_verdict
from worker.core.parity.trial import Equipment
from worker.db.inspect import BotView
from worker.steps.examine import Examined, examine_draft

WORKFLOW = a_workflow(an_llm(model="mute"))


def a_view(graph: bytes, *, is_ours: bool = True) -> BotView:
    return BotView(
        bot_id="a",
        name=None,
        uses_v2=False,
        is_published=False,
        workflow=as_text(WORKFLOW).decode(),
        backup=None,
        is_finished=False,
        graph=graph.decode(),
        draft_updated_at=None,
        draft_is_ours=is_ours,
        environment=None,
        conversation=None,
    )


def examined(view: BotView) -> Examined:
    mute = Saying({"mute": ""})
    equipment = Equipment(pair=lambda: (mute, mute), clock=Clock(), registry=BUILT_IN)
    found = examine_draft(view, DEFAULTS, equipment)
    assert found is not None
    return found


def test_an_empty_response_is_explained_and_is_no_fault_of_the_conversion() -> None:
    view = a_view(a_draft(WORKFLOW).graph)
    out = Console(file=io.StringIO(), width=200)

    found = examined(view)
    print_verdict(out, view, found, "guide")

    assert found.drift is not None
    assert found.drift.cause == "engine"
    assert isinstance(out.file, io.StringIO)
    told = " ".join(out.file.getvalue().split())
    assert "differs the first response is empty: V1 puts its fixed sentence in its place" in told
    assert "why a conversion writes just this draft: no draft can say what V1 does here" in told
    assert "fault is flowshift's" not in told


def test_an_empty_response_of_an_edited_draft_is_an_edited_draft() -> None:
    edited = a_draft(WORKFLOW).graph.replace(b"Context: ", b"")

    found = examined(a_view(edited, is_ours=False))

    assert found.drift is not None
    assert found.drift.cause == "edited"
