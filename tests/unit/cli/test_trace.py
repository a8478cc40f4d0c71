"""The command trace, in this process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.graphs import a_plain_graph
from worker import cli

CORPUS = Path(__file__).parents[2] / "data" / "v1_valid.jsonl"
WORKFLOW = {
    "nodes": [
        {"id": "s", "type": "start"},
        {"id": "m", "type": "llm", "data": {"model": "m", "prompt_template": "{question}"}},
        {"id": "e", "type": "end"},
    ],
    "edges": [{"source": "s", "target": "m"}, {"source": "m", "target": "e"}],
}
CALL = {
    "kind": "llm",
    "prompt": "hi",
    "model": "m",
    "provider": "openai",
    "temperature": 0.7,
    "max_tokens": 4000,
}
Trace = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Trace:
    """Trace some lines: (exit code, the lines that came out)."""

    def run(*lines: object, engine: str | None = None) -> tuple[int, list[dict[str, Any]]]:
        text = b"\n".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
        )
        options = ["--engine", engine] if engine else []
        monkeypatch.setattr(sys, "argv", ["flowshift", "trace", *options])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsysbinary.readouterr().out
        return int(ended.value.code or 0), [json.loads(line) for line in out.splitlines()]

    return run


def test_both_engines_run_a_workflow_and_are_compared(trace: Trace) -> None:
    code, [line] = trace({"name": "a", "message": "hi", "workflow": WORKFLOW})

    assert code == 0
    for engine in ("v1", "v2"):
        assert isinstance(line[engine].pop("elapsed_us"), int)
    assert line == {
        "name": "a",
        "message": "hi",
        "v1": {"answer": "m: hi", "calls": [CALL], "error": None},
        "v2": {"answer": "m: hi", "calls": [CALL], "error": None},
        "parity": True,
    }


def test_blank_lines_are_passed_over(trace: Trace) -> None:
    code, lines = trace(b"", {"message": "hi", "workflow": WORKFLOW}, b"  ")

    assert code == 0
    assert len(lines) == 1


def test_the_corpus_agrees_line_by_line(trace: Trace) -> None:
    code, lines = trace(CORPUS.read_bytes())

    assert code == 0
    assert len(lines) == 180
    for line in lines:
        assert line["parity"] is True
        assert line["v1"]["answer"] == line["expected"]["answer"]
        assert line["v1"]["calls"] == line["expected"]["calls"]


@pytest.mark.parametrize("engine", ["v1", "v2"])
def test_one_engine_alone_is_not_compared(trace: Trace, engine: str) -> None:
    code, [line] = trace({"message": "hi", "column_text": json.dumps(WORKFLOW)}, engine=engine)

    assert code == 0
    assert line[engine]["answer"] == "m: hi"
    assert line["parity"] is None
    assert set(line) == {"message", engine, "parity"}


def test_a_graph_alone_is_run_by_v2_alone(trace: Trace) -> None:
    line = {"message": "hi", "graph": json.loads(a_plain_graph(model="m"))}

    code, [both] = trace(line)
    assert code == 0
    assert both["v2"]["answer"] == "m: hi"
    assert set(both) == {"message", "v2", "parity"}

    code, [v1] = trace(line, engine="v1")
    assert code == 1
    assert v1["v1"]["error"] == "not_a_workflow: V1 cannot run a graph: the line has no workflow"


def test_a_graph_beside_its_workflow_is_compared_with_it(trace: Trace) -> None:
    graph = json.loads(a_plain_graph(model="other"))

    code, [line] = trace({"message": "hi", "workflow": WORKFLOW, "graph": graph})

    assert code == 1
    assert line["parity"] is False
    assert line["difference"] == "the model of an LLM call is 'm' in V1 and 'other' in V2"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ({"message": "hi", "column_text": None}, "no_workflow: the column is empty"),
        ({"message": "hi", "workflow": None}, "no_workflow: the column is empty"),
        ({"message": "hi", "workflow": {}}, "no_nodes: the workflow has no nodes"),
        ({"message": "hi", "column_text": 7}, "not_a_workflow: column_text is no text"),
        ({"message": "hi"}, "not_a_workflow: the line has no workflow, column_text or graph"),
        ({"message": 1, "workflow": WORKFLOW}, "execution_failed: the line has no message (a text)"),
        ({"workflow": WORKFLOW}, "execution_failed: the line has no message (a text)"),
        (b"[]", "not_a_workflow: the line is no JSON object: Expected `object`, got `array`"),
        (b'{"message": "\\ud800"}', "invalid_text: it holds half of a surrogate pair"),
        (b'{"workflow": ' + b"[" * 5000 + b"]" * 5000 + b"}", "too_large: nested 5,001 levels"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_says_why_and_the_others_go_on(
    trace: Trace, line: object, error: str
) -> None:
    code, [bad, good] = trace(line, {"message": "hi", "workflow": WORKFLOW})

    assert code == 1
    assert bad["v1"]["error"] == bad["v2"]["error"]
    assert bad["v1"]["error"].startswith(error)
    assert bad["parity"] is None
    assert good["parity"] is True


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda g: g["edges"].pop(), "execution_failed: no V2 graph: 'end': it cannot be reached"),
        (lambda g: g["nodes"][1].pop("ports"), "execution_failed: no V2 graph: a node or an edge"),
        (
            lambda g: g["nodes"][1]["ports"]["inputs"][2].update(type="number"),
            "execution_failed: no V2 graph: 'llm'.'system_prompt': number does not fit its type's",
        ),
        (lambda g: g["nodes"][1].update(type="loop"), "execution_failed: node 'llm' is a loop"),
    ],
)
def test_a_graph_that_fails_the_checklist_is_not_run(
    trace: Trace, change: Callable[[Any], object], error: str
) -> None:
    graph = json.loads(a_plain_graph())
    change(graph)

    code, [line] = trace({"message": "hi", "graph": graph})

    assert code == 1
    assert line["v2"]["error"].startswith(error)


def test_keys_of_an_earlier_output_do_not_stay(trace: Trace) -> None:
    before = {"v1": 1, "v2": 2, "difference": "old", "parity": False}

    _, [line] = trace({"message": "hi", "workflow": WORKFLOW, **before}, engine="v2")

    assert set(line) == {"message", "v2", "parity"}
    assert line["parity"] is None
