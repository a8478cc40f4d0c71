"""The built-in corpus: V1 runs all of it, and drafts of every target do what V1 does."""

from __future__ import annotations

import time

import pytest

from worker import nodes
from worker.core.corpus.building import Case
from worker.core.corpus.corpus import MESSAGES, corpus
from worker.core.engine import v1 as v1_engine
from worker.core.parity.trial import Equipment, try_draft
from worker.core.targets.convert import convert_checked
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.providers.echo import Echo

CASES = corpus()
KINDS = {
    "plain",
    "knowledge_chain",
    "fan_in",
    "llm_chain",
    "llm_parallel",
    "no_llm",
    "dag",
    "wide",
    "spaces",
    "literal",
    "blank_template",
    "default_template",
    "empty_template",
    "huge",
    "ids",
    "ids_built",
    "stray",
    "junk_type",
    "config",
}


def test_it_has_every_kind_and_no_name_twice() -> None:
    assert {case.kind for case in CASES} == KINDS
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.name.startswith(f"{case.kind}-") for case in CASES)


def test_it_is_the_same_at_every_call() -> None:
    assert corpus() == CASES


@pytest.mark.parametrize("chosen", TARGETS.values(), ids=list(TARGETS))
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_draft_of_it_does_what_v1_does(case: Case, chosen: Target) -> None:
    echo = Echo()
    equipment = Equipment(
        lambda: (echo, echo), time.perf_counter, nodes.installed(chosen), target=chosen
    )
    workflow = v1.decode(case.workflow, Defaults())
    draft = convert_checked(workflow, chosen)
    messages = [(number, text, "s") for number, text in enumerate(MESSAGES, start=1)]

    trial_result = try_draft(
        v1_engine.prepare(workflow),
        chosen.decode(draft.graph, equipment.registry),
        messages,
        equipment,
    )

    assert (trial_result.agreed, trial_result.code, trial_result.message) == (True, None, None)
