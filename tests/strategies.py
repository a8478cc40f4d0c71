"""Hypothesis strategies for workflows: those that V1 runs, those that are nearly so, and any JSON.

The choices that shrink well come first: a failing example is as plain as its failure allows.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.builders import Json, as_text, exactly

_Test = TypeVar("_Test", bound=Callable[..., Any])

PROFILE = "flowshift"
NIGHTLY = "nightly"
NIGHTLY_FACTOR = 20


def load_profile() -> None:
    """Load the profile of every day, or that of the night (`make nightly`).

    By day a test tries the same examples each time: a check that turns red means that the change
    under test is at fault, and turns red again for whoever looks into it. A test of many examples
    tries a seventh of them, another on each day of the week (`examples`). The night is for luck:
    `HYPOTHESIS_PROFILE=nightly` tries new examples each time, HYPOTHESIS_FACTOR (20) times as
    many, and prints with a failing one the line that brings it back. Whatever it finds becomes an
    example of every day.
    """
    everywhere = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile(PROFILE, everywhere, derandomize=True, max_examples=100)
    settings.register_profile(
        NIGHTLY, everywhere, max_examples=100 * _nightly_factor(), print_blob=True
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or PROFILE)


def _nightly_factor() -> int:
    return int(os.environ.get("HYPOTHESIS_FACTOR") or NIGHTLY_FACTOR)


load_profile()


def at_night() -> bool:
    """Whether the profile of the night is loaded."""
    return settings.get_current_profile_name() == NIGHTLY


def day() -> int:
    """Whose examples tests of many try: 1 to 7, Monday is 1; HYPOTHESIS_DAY, else today's (UTC)."""
    return int(os.environ.get("HYPOTHESIS_DAY") or dt.datetime.now(dt.UTC).isoweekday())


AT_ONCE = 300
"""A test of at most so many examples tries all of them every day."""


def examples(number: int) -> Callable[[_Test], _Test]:
    """Let a test try `number` examples in a week, all of them every day where they are few.

    Of many it tries a seventh a day, at least 100, drawn from a seed of that day of the week: the same
    each Monday, and others on Tuesday. At night it tries `number` times the factor, drawn anew.
    """
    if at_night():
        return settings(max_examples=number * _nightly_factor())
    if number <= AT_ONCE:
        return settings(max_examples=number)
    share = settings(max_examples=max(100, -(-number // 7)))
    return lambda test: seed(day())(share(test))


# -- any JSON ------------------------------------------------------------------------------------

# Texts that are something elsewhere: markup, format strings, prototypes, controls, other scripts.
ODD_TEXTS = (
    "",
    "llm",
    "custom",
    "null",
    "0",
    '"',
    "\\",
    "\\u0000",
    "[{",
    "{context}",
    "{question}",
    "__proto__",
    "\x7f\x1b[2J",
    "\u202ea",
    "시작",
    "🙂",
    "\ufeff",
    "\ufffd",
    "'; DROP TABLE bots; --",
)
EXACT_NUMBERS = (
    "0",
    "-0",
    "-0.0",
    "1E5",
    "1e-7",
    "0.10",
    "1.0000000000000000000000000000001",
    "123456789012345678901234567890",
    "-9223372036854775809",
    "1e400",
    "4e-400",
    "0e999999",
    "1e131071",
)


def texts() -> SearchStrategy[str]:
    """Texts that jsonb can hold."""
    return st.sampled_from(ODD_TEXTS) | st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8
    )


def json_values(max_leaves: int = 6) -> SearchStrategy[Any]:
    """Any JSON that jsonb can hold, numbers of any length included."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from(EXACT_NUMBERS).map(exactly)
        | texts()
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4),
        max_leaves=max_leaves,
    )


# -- workflows that V1 runs ----------------------------------------------------------------------

MISSING = object()

PLAIN_IDS = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Ids that a selector cannot name, that collide with what is generated, or that are something else.
ODD_IDS = (
    "a",
    "a.b",
    "a_b",
    "a_b_2",
    "a.b.c",
    "a_b.c",
    "a.b_c",
    ".",
    "..",
    "_",
    "env",
    "env_node",
    "conv",
    "conversation",
    "environment",
    "sys",
    "sys.query",
    "system",
    "self",
    "self_node",
    "self_node_2",
    "text-join-1",
    "text-join-2",
    "text.join",
    "after",
    "after_2",
    "query",
    "context",
    "start",
    "end",
    "0",
    "null",
    " ",
    "\n",
    '"',
    "\\",
    "\\u002e",
    "{question}",
    "{context}",
    "__proto__",
    "constructor",
    "\x01",
    "\x1b[2J",
    "\u202eabc",
    "시작-1",
    "🙂",
    "e\u0301",
    "é",
    "' OR 1=1 --",
    "<b>",
    "x" * 1_000,
    "y." * 500,
    # Numbers, which Python tells apart from their texts.
    1,
    "1",
    "1_2",
    7.5,
    "7_5",
    -3,
    "-3",
    2**70,
    1e21,
)

FRAGMENTS = (
    "{context}",
    "{question}",
    "Answer. ",
    "\n",
    "{query}",
    "{system_prompt}",
    "\n\n\n",
    "  ",
    "{sys{system_prompt}tem_prompt}",
    "{que{context}ry}",
    "{",
    "}",
    "{{question}}",
    "{{",
    "{ques{context}tion}",
    "{con{question}text}",
    "{context!r:>99}",
    "{0}",
    "{Context}",
    "%(context)s",
    "$question",
    "\\1\\g<0>",
    "\\n",
    "\x01",
    "질문: ",
    "🙂",
    "</s>",
)

MODELS: tuple[Any, ...] = (
    "gpt-4",
    "claude-3-haiku",
    "gemini-1.5-pro",
    "o1-mini",
    "solar-pro",
    "openai/gpt-4",
    "anthropic/claude-3",
    {"name": "gpt-4"},
    {"id": "claude-3-haiku"},
    {"provider": "Anthropic", "name": "gpt-4o-mini"},
    {"provider": "OPENAI", "id": "gemini-1.5-pro", "temperature": 2},
    {"name": "", "id": "o1-mini"},
    {"name": None, "id": "solar-pro"},
    {"name": "first", "id": "second"},
    {},
    {"provider": "Google"},
    "",
    None,
    7,
    [],
)
_LLM_DATA: dict[str, tuple[Any, ...]] = {
    "model": MODELS,
    "provider": ("openai", "Anthropic", "GOOGLE", "마이", " ", "", None, False, 0, []),
    "prompt": ("Only {question}", "", None, False, []),
    "temperature": (
        *(0, 1, 0.0, 1.0, 0.25),
        *(exactly("0.3000000000000000000001"), exactly("1e-3"), exactly("1E0")),
        *(True, False, "0.5", " 1 ", "5e-1", ".5", "0_1", "-0", "+1.", exactly("4e-400")),
    ),
    "max_tokens": (1, 8192, 512, 5.0, exactly("1e3"), True, "512", "5.0", "+5_00", "\t7"),
    "use_context_from": ([], None),
}
_DOCUMENTS: tuple[list[str] | None, ...] = (
    ["d1"],
    ["d1", "d2"],
    ["d2", "d2"],
    ["문서", "{context}", ""],
    [],
    None,
    [f"d{number}" for number in range(40)],
)
_DATASETS = ("ds", "", "{question}", None)
_TOP_KS = (1, 2, 5, 20, 7.0, True, "3", "1_0", " 2 ", "20.0")
_KNOWLEDGE_DATA: dict[str, tuple[Any, ...]] = {
    "document_ids": _DOCUMENTS,
    "documentIds": _DOCUMENTS,
    "dataset_id": _DATASETS,
    "dataset": _DATASETS,
    "top_k": _TOP_KS,
    "topK": (*_TOP_KS, None),
    "mode": ("semantic", "keyword", "semantic search", ""),
    "dataset_name": ("문서", "", None),
}

_OWN_DATA: dict[str, tuple[Any, ...]] = {
    "terms": ({"h": "{question}", "{": "{context}"}, {"{question}": "환불", "": "\n\n"}, {}),
    "quiet": (True, False),
}

MESSAGES = (
    "hello",
    "",
    "{context}",
    "{question}",
    "{context}{question}",
    "{ques{context}tion}",
    "   pad \n\n\n\n x  ",
    "{question}{context}{question}",
    "{query} {system_prompt} {{x.y}} {{start-1.query}} {% if %}",
    "\u3000\n\n\n\u2028",
    "\\1 \\g<0> $1 %s",
    "환불 정책이 뭐예요?",
    "🙂\n\t\x1b[31m",
    "'; DROP TABLE bots; --",
)


def messages() -> SearchStrategy[str]:
    """Messages of every script and full of placeholders, but without lone surrogates."""
    return st.sampled_from(MESSAGES) | st.text(max_size=12)


def templates() -> SearchStrategy[str]:
    """Prompts: placeholders, what looks like one, and other text."""
    return st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join)


_ANYTHING: Json = {
    "note": "{context}",
    "seed": exactly("123456789012345678901234567890"),
    "ratio": exactly("0.1000000000000000055511151231257827021181583404541015625"),
    "huge": [exactly("1e400"), {"tiny": exactly("-4E-400")}],
    "__proto__": {"polluted": True},
    "": None,
    "메모": "\\u0000 \u202e",
    "class": [],
}
_TOP_EXTRAS: Json = {**_ANYTHING, "viewport": {"x": exactly("-0.0"), "zoom": exactly("1.50")}}
_NODE_EXTRAS: Json = {
    **_ANYTHING,
    "ports": "mine",
    "variable_mappings": [],
    "width": 240,
}
_DATA_EXTRAS: Json = {**_ANYTHING, "title": "제목", "ports": {}, "separator": 1, "default": "x"}
_EDGE_EXTRAS: Json = {
    **_ANYTHING,
    "sourceHandle": "source",
    "source_port": "mine",
    "target_port": None,
    "data_type": 3,
}
# Whole, in part, and nothing that the platform's editor could read.
_POSITIONS: tuple[Any, ...] = (
    {"x": 100, "y": 150},
    {"x": exactly("12.50"), "y": -3, "z": exactly("1.0")},
    {"x": exactly("1e5")},
    {"x": None, "y": None},
    {"x": "12", "y": exactly("1e400")},
    {"x": True, "y": [1], "": None},
    {},
    None,
    [1, 2],
    "0,0",
)
_EDGE_TYPES: tuple[Any, ...] = ("custom", "smoothstep", "", None, 7, [])
_EDGE_DATA: tuple[Any, ...] = (
    {"source_type": "", "target_type": ""},
    {"source_type": "llm", "label": "예", "weight": exactly("0.10")},
    {"source_type": None, "target_type": 7},
    {},
    None,
    "x",
    [{"source_type": "llm"}],
)


@st.composite
def workflows(
    draw: DrawFn, *, max_nodes: int = 6, odd: bool = True, own_types: Sequence[str] = ()
) -> Json:
    """Workflows that V1 runs: at most `max_nodes` knowledge and LLM nodes.

    Any acyclic graph with a way in and a way out of every node that needs them, edges doubled, in
    any order; with `odd`, ids, spellings and extra keys of every kind. `own_types` are types of an
    installation's own that it may have too.
    """
    more_ids = draw(_MORE_IDS) if odd else []
    return _Builder(Tape(_drawn(draw)), more_ids, own_types, odd=odd).workflow(max_nodes)


_MORE_IDS = st.lists(texts().filter(bool), max_size=2)
_PIECES_OF_TAPE = st.binary(min_size=32, max_size=32)


def _drawn(draw: DrawFn) -> Iterator[int]:
    """As many bytes as are asked for, up to a bound; drawn in pieces, which Hypothesis does faster."""
    for _ in range(48):
        yield from draw(_PIECES_OF_TAPE)


@st.composite
def columns(draw: DrawFn, *, max_nodes: int = 6) -> bytes:
    """The texts of columns that hold a workflow that V1 runs, spelled in any of JSON's ways."""
    return spelled(as_text(draw(workflows(max_nodes=max_nodes))), Tape(draw(_SPELLINGS)))


_SPELLINGS = st.binary(min_size=64, max_size=64)
_TEXT_OF_JSON = re.compile(r'"(?:[^"\\]|\\.)*"')


def spelled(text: bytes, tape: Tape) -> bytes:
    """The same JSON with some of its texts (keys are texts) escaped and its whitespace changed."""
    indent = tape.pick((None, "", "\t", "\r\n "))
    how_many = tape.pick((0, 1, 9, 99))

    def respelled(found: re.Match[str]) -> str:
        nonlocal how_many
        if not how_many or tape.below(3):
            return found[0]
        how_many -= 1
        return f'"{"".join(map(_escaped, json.loads(found[0])))}"'

    result = _TEXT_OF_JSON.sub(respelled, text.decode())
    if indent is not None:
        spaced = re.compile(_TEXT_OF_JSON.pattern + r"|[\[{,:}\]]")
        result = spaced.sub(lambda found: f"{indent}{found[0]}\n", result)
    return result.encode()


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def numbered_column(number: int) -> bytes:
    """The column of a number: of every kind that `columns` draws, own types and large graphs included.

    Without Hypothesis, so that a hundred thousand take minutes.
    """
    chance = random.Random(number)
    own_types = ("glossary", "rerank", "judge", "agent", "oracle", "stopwatch")
    builder = _Builder(
        Tape(chance.randbytes(1_536)),
        chance.sample(ODD_TEXTS[1:], 2),
        own_types if number % 4 == 0 else (),
        odd=number % 8 != 1,
    )
    text = as_text(builder.workflow(24 if number % 16 == 1 else 6))
    return spelled(text, Tape(chance.randbytes(64)))


class Tape:
    """Choices read from bytes: a few draws of Hypothesis make a whole workflow, quickly.

    Zero is always the plainest choice, also where the bytes have run out, so that examples shrink.
    """

    def __init__(self, values: Iterable[int]) -> None:
        self._values = iter(values)

    def below(self, limit: int) -> int:
        number = next(self._values, 0)
        return (number if limit <= 256 else number << 8 | next(self._values, 0)) % limit

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    def some(self, options: Sequence[Any], most: int) -> list[Any]:
        return [self.pick(options) for _ in range(self.below(most + 1))]

    def shuffled(self, things: Sequence[Any]) -> list[Any]:
        result = list(things)
        for place in range(len(result) - 1, 0, -1):
            other = place - self.below(place + 1)
            result[place], result[other] = result[other], result[place]
        return result


class _Builder:
    """Makes one workflow from a tape."""

    def __init__(
        self, tape: Tape, more_ids: Sequence[str], own_types: Sequence[str], *, odd: bool
    ) -> None:
        self.tape = tape
        self.own_types = own_types
        self.id_pool: list[Any] = list(dict.fromkeys((*ODD_IDS, *more_ids) if odd else PLAIN_IDS))
        self.odd = odd

    def workflow(self, max_nodes: int) -> Json:
        size = 2 + self.tape.below(max_nodes + 1)
        self.ids = self._some_ids(size)
        edges = [self._edge(*ends) for ends in self._ends()]
        nodes = [
            self._node(self.ids[0], "start", {}),
            *(self._worker(node_id) for node_id in self.ids[1:-1]),
            self._node(self.ids[-1], "end", {}),
        ]
        nodes = self.tape.shuffled(nodes)
        return {**self._extra_keys(_TOP_EXTRAS), "nodes": nodes, "edges": edges}

    def _some_ids(self, number: int) -> list[Any]:
        pool = list(self.id_pool)
        if not self.odd:
            return pool[:number]
        return [pool.pop(self.tape.below(len(pool))) for _ in range(number)]

    def _ends(self) -> list[tuple[Any, Any]]:
        """Sources and targets along `ids` (the start first, the end last), none left alone."""
        ids, tape = self.ids, self.tape
        pairs: list[tuple[Any, Any]] = []
        for place, node_id in enumerate(ids[1:], start=1):
            # Every set of sources where there are few to choose from, else a few of the nearest.
            first = max(0, place - 8)
            sources = tape.below(2 ** (place - first) - 1) + 1
            if first:
                sources &= -sources | tape.below(256)
            pairs += [(ids[first + bit], node_id) for bit in range(8) if sources >> bit & 1]
        left = {source for source, _ in pairs}
        pairs += [(node_id, ids[-1]) for node_id in ids[:-1] if node_id not in left]
        pairs += tape.some(pairs, 2)
        return tape.shuffled(pairs)

    def _edge(self, source: Any, target: Any) -> Json:
        usual = f"e-{source}-{target}"
        if not self.odd:
            return {"source": source, "target": target}
        edge_id = self.tape.pick((MISSING, "e1", usual, f"{usual}-2", "", None, 1, ["e"]))
        named = {} if edge_id is MISSING else {"id": edge_id}
        if self.tape.below(3) == 1:
            named["type"] = self.tape.pick(_EDGE_TYPES)
        if self.tape.below(3) == 1:
            named["data"] = copy.deepcopy(self.tape.pick(_EDGE_DATA))
        ends = {"source": self._written(source), "target": self._written(target)}
        return {**named, **ends, **self._extra_keys(_EDGE_EXTRAS)}

    def _written(self, node_id: Any) -> Any:
        """An id, a number perhaps in another of the ways that are equal in Python."""
        if isinstance(node_id, int) and abs(node_id) < 2**53 and self.tape.below(2):
            return float(node_id)
        return node_id

    def _worker(self, node_id: Any) -> Json:
        """A knowledge or an LLM node, or one of an installation's own types."""
        if self.own_types and self.tape.below(2):
            return self._node(node_id, self.tape.pick(self.own_types), self._choices(_OWN_DATA))
        if self.tape.below(2):
            name = self.tape.pick(("knowledge-retrieval", "knowledge"))
            data = self._choices(_KNOWLEDGE_DATA)
            documents = self.tape.below(4)
            if not self.odd or documents == 1:
                data["document_ids"] = [str(node_id)]  # tells one search from another
            elif documents == 2:
                data = {"document_ids": ["d1"]}  # and this does not
            return self._node(node_id, name, data)
        data = self._choices(_LLM_DATA)
        if self.tape.below(2):
            data["prompt_template"] = "".join(self.tape.some(FRAGMENTS, 5))
        used = self.tape.below(4)
        if used == 1:
            data["use_context_from"] = self.tape.some((*map(str, self.ids), "ghost"), 4)
        elif used == 2:
            earlier = self.ids[: self.ids.index(node_id)]
            data["use_context_from"] = self.tape.some([*map(str, earlier)], 4)
        return self._node(node_id, "llm", data)

    def _node(self, node_id: Any, node_type: str, data: Json) -> Json:
        """A node with its type where V1 looks for it, and data where there is any."""
        if not self.odd:
            return {"id": node_id, "type": node_type, "data": data}
        extra = self._extra_keys(_NODE_EXTRAS)
        if place := self.tape.below(4):
            places = _POSITIONS if place == 1 else _POSITIONS[:1]
            extra["position"] = copy.deepcopy(self.tape.pick(places))
        data = {**self._extra_keys(_DATA_EXTRAS), **data}
        if self.tape.below(4) == 1:
            return {"id": node_id, **extra, "type": "custom", "data": {**data, "type": node_type}}
        nothing = ({}, None, MISSING) if node_type in ("start", "end") else ({}, MISSING)
        shown = data or self.tape.pick(nothing)
        given = {} if shown is MISSING else {"data": shown}
        return {"id": node_id, "type": node_type, **given, **extra}

    def _choices(self, options: Mapping[str, Sequence[Any]]) -> Json:
        """One of the options for every key, or none: the first is always to leave it out."""
        if not self.odd:
            return {}
        chosen = {name: self.tape.pick((MISSING, *values)) for name, values in options.items()}
        return {
            name: copy.deepcopy(value) for name, value in chosen.items() if value is not MISSING
        }

    def _extra_keys(self, known: Json) -> Json:
        """A few keys that nobody reads, each copied, so that no two objects share a value."""
        if not self.odd:
            return {}
        return {name: copy.deepcopy(known[name]) for name in self.tape.some(sorted(known), 2)}


# -- nearly workflows ----------------------------------------------------------------------------


@st.composite
def near_workflows(draw: DrawFn) -> Json:
    """Workflows in which something was deleted, replaced, doubled or copied elsewhere."""
    workflow = draw(workflows(max_nodes=2))
    return _changed(workflow, Tape(draw(_CHANGES)), draw(_NEW_VALUES))


_CHANGES = st.binary(min_size=15, max_size=15)
_NEW_VALUES = st.lists(json_values(max_leaves=3), min_size=1, max_size=3)


def _changed(workflow: Json, tape: Tape, values: Sequence[Any]) -> Json:
    for value in values:
        places = list(_places(workflow))
        if not places:
            break
        container, key = tape.pick(places)
        change = tape.pick(("replace", "delete", "copy", "double"))
        if change == "replace":
            container[key] = value
        elif change == "delete":
            del container[key]
        elif change == "copy":
            other, other_key = tape.pick(places)
            container[key] = copy.deepcopy(other[other_key])
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return workflow


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below `value`."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@st.composite
def damaged_texts(draw: DrawFn) -> bytes:
    """Workflows' texts with a piece cut out and something else in its place."""
    text = as_text(draw(workflows(max_nodes=1)))
    begin = draw(_PLACES) % (len(text) + 1)
    return text[:begin] + draw(_PIECES) + text[begin + draw(_CUTS) :]


_PLACES = st.integers(0, 2**16)
_CUTS = st.integers(0, 5)
_SPLINTERS = (
    b"",
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud83d",
    b"\\ude00",
    b"\x00",
    b"\xed\xa0\x80",
    b"\xff",
    b"[" * 101,
    b"]" * 101,
    b"{}",
    b",",
    b":",
    b"1e131072",
    b"1e99999999999999999999",
    b"9" * 5_000,
    b"NaN",
    b"\xef\xbb\xbf",
    b"null",
    b'{"a":1}',
)
_PIECES = st.sampled_from(_SPLINTERS) | st.binary(max_size=4)
