"""Node types that packages bring reach the worker."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import pytest

from tests.builders import a_node, a_workflow, an_llm, mapped
from tests.custom_types import REGISTRY
from tests.fleet import Fleet
from tests.graphs import run
from worker import app, nodes
from worker.runtime import Runtime

WORKFLOW = a_workflow(a_node("g", "glossary", {"terms": {"hi": "A greeting."}}), an_llm())


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> list[int]:
    """Pretend that a package brings a type; how often it was looked for."""
    looked = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        looked.append(1)
        return [EntryPoint("own", value, group)]

    monkeypatch.setattr(nodes, "entry_points", entry_points)
    return looked


def test_a_worker_converts_what_its_packages_bring(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = install(monkeypatch, "tests.custom_types:Glossary")
    fleet.add("own", WORKFLOW)
    fleet.add("strange", a_workflow(a_node("x", "teapot"), an_llm()))

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {
        "own": "converted",
        "strange": "failed unknown_node_type",
    }
    draft = fleet.drafts()["own"]
    assert mapped(draft, "llm")["context"] == "g.text"
    answer = run(json.dumps(draft).encode(), "hi", registry=REGISTRY).answer
    assert answer == "gpt-4: Context: A greeting.\nQuestion: hi\nAnswer:"
    fleet.run()
    assert looked == [1]


def test_without_the_package_the_bot_fails_and_says_why(fleet: Fleet) -> None:
    fleet.add("own", WORKFLOW)

    assert fleet.outcomes(fleet.run().run_id) == {"own": "failed unknown_node_type"}


def test_a_worker_does_not_start_with_a_type_that_cannot_be_used(
    current: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, "tests.custom_types:Nobody")
    monkeypatch.setattr("worker.log.capture", lambda: None)  # it would outlive this test

    with pytest.raises(SystemExit) as stopped:
        app._check_servers()

    assert stopped.value.code == 3
    assert "the entry point own = tests.custom_types:Nobody" in capsys.readouterr().err
