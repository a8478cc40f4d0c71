"""Plans: what a draft takes from its workflow's structure, kept for all workflows of that structure."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    Json,
    a_node,
    a_search,
    a_start,
    a_workflow,
    an_end,
    an_llm,
    as_text,
    paths,
    without_plans,
)
from tests.custom_types import TEXT_OUT, TYPES, WITH_TYPES, Glossary
from tests.drafts_digest import DATA, digests
from tests.strategies import FRAGMENTS, ODD_IDS, Tape, examples, workflows
from worker.core.codes import Issue
from worker.core.targets.convert import convert, convert_checked
from worker.core.targets.plans import MAX_PLANS, MAX_SIZE
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Target
from worker.core.workflow import graph_check, v1
from worker.core.workflow.config import Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.plan import CHECK_EVERY
from worker.core.workflow.v1_texts import NO_LLM_ANSWER
from worker.core.workflow.v2 import Port, Ports
from worker.errors import BotError

EVERY_TARGET = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda one: one.name)
OWN_TYPES = (*TYPES,)


def draft_of(workflow: object, target: Target, defaults: Defaults = WITH_TYPES) -> Draft:
    return convert(v1.decode(as_text(workflow), defaults), target)


def with_other_data(workflow: Json, tape: Tape) -> Json:
    """A workflow of the same structure: other ids, texts, numbers and positions."""
    other = copy.deepcopy(workflow)
    pool = [one for one in ODD_IDS if isinstance(one, str)]
    ids = {node["id"]: pool.pop(tape.below(len(pool))) for node in other["nodes"]}
    for node in other["nodes"]:
        node["id"] = ids[node["id"]]
        node["position"] = {"x": tape.below(256), "y": -1.5}
        data = node.get("data")
        if isinstance(data, dict):
            if uses := data.get("use_context_from"):
                known = {old: new for old, new in ids.items() if isinstance(old, str)}
                data["use_context_from"] = [known.get(one, "nobody") for one in uses]
            data["title"] = tape.pick(FRAGMENTS)
            if "temperature" in data:
                data["temperature"] = 0.125
    for number, edge in enumerate(other["edges"]):
        edge.update(source=ids[edge["source"]], target=ids[edge["target"]])
        edge["id"] = tape.pick((f"{number}", "e1", None, "", 7))
    return other


# -- one plan, many drafts -----------------------------------------------------------------------


@EVERY_TARGET
@given(workflows(max_nodes=5, own_types=OWN_TYPES), st.binary(min_size=64, max_size=64))
@examples(600)
def test_a_draft_is_the_same_by_a_plan_that_another_workflow_left(
    target: Target, workflow: Json, tape: bytes
) -> None:
    other = with_other_data(workflow, Tape(tape))
    structures = [v1.decode(as_text(one), WITH_TYPES).structure for one in (workflow, other)]
    used = without_plans(target)
    draft_of(workflow, used)

    assert structures[0] == structures[1]
    assert draft_of(other, used) == draft_of(other, without_plans(target))


@EVERY_TARGET
def test_a_second_workflow_of_a_structure_finds_its_plan(target: Target) -> None:
    used = without_plans(target)
    draft_of(a_workflow(a_search("k"), an_llm("a")), used)
    draft_of(a_workflow(a_search("o.ther"), an_llm("b", temperature=0.2)), used)

    assert used.writer.counts == (1, 1, 0)


CHANGES: dict[str, Callable[[Json], Any]] = {
    "an edge": lambda w: w["edges"].append(paths("start>llm")[0]),
    "an edge doubled": lambda w: w["edges"].append(paths("k>llm")[0]),
    "edges in another order": lambda w: w["edges"].reverse(),
    "a type": lambda w: w["nodes"][1].update(type="llm"),
    "use_context_from": lambda w: w["nodes"][2]["data"].update(use_context_from=["k"]),
    "use_context_from of nobody": lambda w: w["nodes"][2]["data"].update(use_context_from=["x"]),
    "an empty prompt": lambda w: w["nodes"][2]["data"].update(prompt_template=""),
    "nodes in another order": lambda w: w["nodes"].reverse(),
}


@EVERY_TARGET
@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_on_a_draft_is_part_of_the_structure(target: Target, change: str) -> None:
    used = without_plans(target)
    workflow = a_workflow(a_search("k"), an_llm("llm"), edges=paths("start>k>llm>end"))
    draft_of(workflow, used)
    CHANGES[change](workflow)

    assert draft_of(workflow, used) == draft_of(workflow, without_plans(target))
    assert used.writer.counts == (0, 2, 0)


@EVERY_TARGET
def test_another_instance_of_a_custom_type_is_another_type(target: Target) -> None:
    class Longer(Glossary):
        ports = Ports((*Glossary.ports.inputs, Port("extra")), (TEXT_OUT, Port("source")))

    used = without_plans(target)
    workflow = a_workflow(a_node("g", "glossary", {}), an_llm())
    draft_of(workflow, used)
    other = Defaults(types={**TYPES, "glossary": Longer()})

    assert b'"source"' in draft_of(workflow, used, other).graph.split(b'"edges"')[0]
    assert used.writer.counts == (0, 2, 0)


def test_a_custom_type_that_cannot_be_hashed_has_plans_all_the_same() -> None:
    class Unhashable(Glossary):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    used = without_plans(TARGETS["guide"])
    defaults = Defaults(types={**TYPES, "glossary": Unhashable()})
    for _ in range(2):
        draft_of(a_workflow(a_node("g", "glossary", {}), an_llm()), used, defaults)

    assert used.writer.counts == (1, 1, 0)


# -- the checklist, and the engine's preparation -------------------------------------------------


class Looks:
    """The graphs that were held against the checklist."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graphs: list[bytes] = []
        self.issues: list[Issue] = []
        monkeypatch.setattr(graph_check, "check", self._check)

    def _check(self, graph: bytes, *_: object) -> list[Issue]:
        self.graphs.append(graph)
        return self.issues


def checked(workflow: Json, target: Target) -> Draft:
    return convert_checked(v1.decode(as_text(workflow), WITH_TYPES), target)


def test_the_first_draft_of_a_plan_is_checked_and_one_in_so_many_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, used = Looks(monkeypatch), without_plans(TARGETS["guide"])
    for _ in range(2 * CHECK_EVERY):
        checked(a_workflow(), used)
    assert len(looks.graphs) == 3

    checked(a_workflow(an_llm("a"), an_llm("b")), used)
    assert len(looks.graphs) == 4


def test_drafts_of_a_plan_are_checked_until_one_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, used = Looks(monkeypatch), without_plans(TARGETS["guide"])
    looks.issues.append(Issue("mapping", "'a'", "wrong"))
    for _ in range(3):
        with pytest.raises(BotError, match="the draft fails the checklist: 'a': wrong"):
            checked(a_workflow(), used)
    looks.issues.clear()
    for _ in range(3):
        checked(a_workflow(), used)

    assert len(looks.graphs) == 4


def test_drafts_whose_texts_name_the_same_are_checked_as_those_of_other_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, used = Looks(monkeypatch), without_plans(TARGETS["answer"])
    for number in range(2 * CHECK_EVERY):
        checked(a_workflow(an_llm(f"m{number}", prompt=f"{number}: {{question}}")), used)

    assert len(looks.graphs) == 3


OTHER_DATA: dict[str, Json | bytes] = {
    "another type": {"type": "end", "prompt_template": "{{start.query}}"},
    "a type that is no text": {"type": ["llm"], "prompt_template": "{{start.query}}"},
    "another node": {"type": "llm", "prompt_template": "{{end.query}}"},
    "no node": {"type": "llm", "prompt_template": "{{missing.query}}"},
    "another output": {"type": "llm", "prompt_template": "{{start.session_id}}"},
    "no output": {"type": "llm", "prompt_template": "{{start}}"},
    "one more variable": {"type": "llm", "prompt_template": "{{start.query}} {{a.response}}"},
    "no variable": {"type": "llm", "prompt_template": "?"},
    "a blank template": {"type": "llm", "prompt_template": " "},
    "no template": {"type": "llm"},
    "a template that is no text": {"type": "llm", "prompt_template": 5},
    "a template before the prompt": {
        "type": "llm",
        "template": "?",
        "prompt_template": "{{start.query}}",
    },
    "a template that is too long": {
        "type": "llm",
        "prompt_template": "{{start.query}}" + "x" * 20_480,
    },
    "too many variables": {
        "type": "llm",
        "prompt_template": "".join(f"{{{{start.query{one}}}}}" for one in range(101)),
    },
    "a number that no float holds": b'{"type": "llm", "prompt_template": 1e999}',
}


@pytest.mark.parametrize("name", OTHER_DATA)
def test_a_draft_whose_texts_say_something_else_is_checked(name: str) -> None:
    used = without_plans(TARGETS["answer"])
    draft = [checked(a_workflow(an_llm("a", prompt="{question}")), used) for _ in range(2)][1]
    said = OTHER_DATA[name]
    data = said if isinstance(said, bytes) else as_text(said)

    assert not used.is_due(draft)
    assert used.is_due(msgspec.structs.replace(draft, data=(draft.data[0], data, *draft.data[2:])))


@pytest.mark.parametrize("name", ["Sys", "ENV", "Conversation"])
def test_a_draft_with_an_id_of_the_platform_is_checked(name: str) -> None:
    used = without_plans(TARGETS["answer"])
    draft = [checked(a_workflow(an_llm("a")), used) for _ in range(2)][1]

    assert not used.is_due(draft)
    data = tuple(one.replace(b"{{a.", b"{{%b." % name.encode()) for one in draft.data)
    renamed = msgspec.structs.replace(draft, ids=("start", name, *draft.ids[2:]), data=data)
    assert used.is_due(renamed)


def test_a_draft_with_a_blank_answer_is_checked() -> None:
    used = without_plans(TARGETS["answer"])
    draft = [checked(a_workflow(an_llm("a")), used) for _ in range(2)][1]
    data = tuple(one.replace(NO_LLM_ANSWER.encode(), b" ") for one in draft.data)

    assert data != draft.data
    assert used.is_due(msgspec.structs.replace(draft, data=data))


TEMPLATES = (
    *(
        "{{start.query}}",
        "{{ start.query }}",
        "{{k.context}}",
        "{{m.response}}",
        "{{end.x}}",
        "{{n.x}}",
    ),
    *(
        "{{start}}",
        "{{self.query}}",
        "{{sys.x}}",
        "{{env.x}}",
        "{{Conv.x}}",
        " ",
        "{question}",
        "{{",
    ),
    *("}}", "x", "{{start.nothing}}", "{{}}", "\n"),
)


@given(
    st.lists(st.lists(st.sampled_from(TEMPLATES), max_size=3).map("".join), min_size=4, max_size=4),
    st.lists(st.sampled_from(["llm", "answer", "start", "end", None, 1]), min_size=2, max_size=2),
    st.sampled_from(["prompt_template", "template"]),
)
@examples(1_000)
def test_the_answer_of_a_rule_follows_from_the_plan_and_what_was_read(
    texts: list[str], types: list[str | int | None], key: str
) -> None:
    """So a draft that is not checked meets its target's rule if the one did of which the same was read."""
    target = TARGETS["answer"]
    draft = draft_of(a_workflow(a_search("k"), an_llm("m")), without_plans(target))
    renamed = draft_of(
        a_workflow(a_search("o"), an_llm("p"), start=a_start("begin"), end=an_end("stop")),
        without_plans(target),
    )
    assert renamed.kept == draft.kept

    found: dict[Any, bool] = {}
    for one, text, node_type in (
        (draft, texts[0], types[0]),
        (draft, texts[1], types[1]),
        (renamed, texts[2], types[0]),
        (renamed, as_renamed(texts[0]), types[0]),
        (renamed, texts[3], types[1]),
    ):
        said = {"type": node_type, key: text}
        changed = with_data(with_data(one, 2, said), -2, {"type": "answer", "template": texts[1]})
        passes = not target.check(changed.graph)
        assert found.setdefault(target.reading(changed), passes) == passes
    assert target.reading(draft) == target.reading(renamed)


def as_renamed(template: str) -> str:
    for old, new in (("start.", "begin."), ("k.", "o."), ("m.", "p."), ("end.", "stop.")):
        template = template.replace(old, new)
    return template


def with_data(draft: Draft, place: int, data: Json) -> Draft:
    """The draft with another `data` of a node, in the graph too."""
    graph = json.loads(draft.graph)
    graph["nodes"][place]["data"] = data
    every = list(draft.data)
    every[place] = as_text(data)
    return msgspec.structs.replace(draft, graph=as_text(graph), data=tuple(every))


@pytest.mark.parametrize("ids", [("a", "a"), ("a", "b.c"), ("a", "sys")])
def test_a_draft_whose_ids_are_not_in_order_is_checked(ids: tuple[str, ...]) -> None:
    used = without_plans(TARGETS["guide"])
    draft = [checked(a_workflow(), used) for _ in range(2)][1]

    assert not used.is_due(draft)
    assert used.is_due(msgspec.structs.replace(draft, ids=ids))


def read_by_the_checklist(draft: Draft) -> Any:
    """All that the checklist reads of a graph, nodes named by place."""
    graph = json.loads(draft.graph)
    place = {node["id"]: number for number, node in enumerate(graph["nodes"])}
    assert len(place) == len(graph["nodes"])
    for node in graph["nodes"]:
        for name, mapping in node["variable_mappings"].items():
            source, port = mapping["variable"].split(".", 1)
            node["variable_mappings"][name] = (place[source], port, mapping["value_type"])
    nodes = [(one["type"], one["ports"], one["variable_mappings"]) for one in graph["nodes"]]
    said = ("source_port", "target_port", "data_type")
    edges = [
        (place[one["source"]], place[one["target"]], *(one[name] for name in said))
        for one in graph["edges"]
    ]
    return nodes, edges


@EVERY_TARGET
@given(workflows(max_nodes=5, own_types=OWN_TYPES), st.binary(min_size=64, max_size=64))
@examples(600)
def test_what_the_checklist_and_the_engine_read_follows_from_the_plan(
    target: Target, workflow: Json, tape: bytes
) -> None:
    """So a draft that is not checked is as sound as the first of its plan, and runs as its graph says."""
    used, types = without_plans(target), {**target.rules.built_in, **TYPES}
    first = draft_of(workflow, used)
    used.prepare(first, types)
    other = draft_of(with_other_data(workflow, Tape(tape)), used)

    assert used.prepare(other, types) == used.decode(other.graph, types)
    if used.writer.counts.hits:
        assert read_by_the_checklist(first) == read_by_the_checklist(other)
        assert first.kept is other.kept


def test_a_draft_is_prepared_from_a_graph_of_its_plan_and_not_from_its_own() -> None:
    used, types = without_plans(TARGETS["guide"]), TARGETS["guide"].rules.built_in
    first, other = (draft_of(a_workflow(an_llm(name)), used) for name in ("a", "b"))
    program = used.prepare(first, types)
    unread = msgspec.structs.replace(other, graph=b"not read")

    assert list(program.ids) == ["start", "a", "end"]
    assert list(used.prepare(unread, types).ids) == ["start", "b", "end"]


def test_a_graph_of_a_plan_is_read_anew_for_a_draft_that_goes_through_the_checklist() -> None:
    used = without_plans(TARGETS["guide"])
    programs = [used.prepare(checked(a_workflow(), used)) for _ in range(CHECK_EVERY + 1)]

    assert programs[0].outline is programs[-3].outline
    assert programs[-3].outline is not programs[-1].outline


def test_other_node_types_prepare_anew() -> None:
    used, built_in = without_plans(TARGETS["guide"]), TARGETS["guide"].rules.built_in
    draft = draft_of(a_workflow(a_node("g", "glossary", {}), an_llm()), used)

    used.prepare(draft, {**built_in, **TYPES})
    with pytest.raises(BotError, match="no node type 'glossary' is registered"):
        used.prepare(draft, built_in)


# -- how much is kept ----------------------------------------------------------------------------


def numbered(number: int) -> Json:
    """A workflow of a structure of its own."""
    again = [*range(number // 32)]
    workflow = a_workflow(an_llm("m", use_context_from=["m"] * (number % 32)))
    return {**workflow, "edges": [*workflow["edges"], *(paths("start>m")[0] for _ in again)]}


def test_of_more_plans_than_are_kept_the_one_goes_that_was_used_longest_ago() -> None:
    used = without_plans(TARGETS["guide"])
    for number in range(MAX_PLANS):
        draft_of(numbered(number), used)
    draft_of(numbered(0), used)
    draft_of(numbered(MAX_PLANS), used)
    assert used.writer.counts == (1, MAX_PLANS + 1, 1)

    draft_of(numbered(0), used)
    assert used.writer.counts.hits == 2
    draft_of(numbered(1), used)
    assert used.writer.counts == (2, MAX_PLANS + 2, 2)


def joined(number: int, uses: int = 0) -> Json:
    """Searches and as many LLMs, each of which sees all of them; one uses the first search often."""
    searches = [a_search(f"k{place}") for place in range(number)]
    models = [an_llm(f"m{place}") for place in range(number)]
    models[0]["data"]["use_context_from"] = ["k0"] * uses
    return a_workflow(*searches, *models)


@pytest.mark.parametrize("workflow", [joined(9), joined(1, MAX_SIZE), joined(60)])
def test_a_plan_beyond_the_limit_is_not_kept(workflow: Json) -> None:
    used = without_plans(TARGETS["guide"])
    drafts = [draft_of(workflow, used) for _ in range(2)]

    assert drafts[0] == drafts[1]
    assert used.writer.counts == (0, 2, 0)


def test_as_many_plans_as_are_kept_fit_into_64_mebibytes() -> None:
    used = without_plans(TARGETS["guide"])
    largest = next(number for number in range(9, 0, -1) if joined_is_kept(number))
    draft_of(numbered(0), used)
    tracemalloc.start()
    try:
        for uses in range(8):
            draft_of(joined(largest, uses), used)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used.writer.counts.evictions == 0
    assert grown / 8 * MAX_PLANS < 64 * 1024 * 1024


def joined_is_kept(number: int) -> bool:
    used = without_plans(TARGETS["guide"])
    for _ in range(2):
        draft_of(joined(number), used)
    return used.writer.counts.hits == 1


# -- the converter before plans ------------------------------------------------------------------


def test_drafts_are_those_that_the_converter_without_plans_wrote() -> None:
    """To the byte, warnings included: as `python -m tests.drafts_digest 200` said of it.

    A change of this is a new `CONVERTER_VERSION`: by that a run knows what it need not convert again.
    """
    known = (DATA / "drafts_digest.txt").read_text().splitlines()
    found = list(digests(200))
    if found[1:] != known[1:]:
        assert found[0] != known[0], "drafts have changed: raise CONVERTER_VERSION"
    assert found == known
