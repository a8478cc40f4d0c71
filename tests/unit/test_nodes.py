"""Node types that installed packages bring."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from tests.custom_types import Glossary
from tests.graphs import BUILT_IN
from worker import nodes
from worker.core.targets.guide.nodes import Llm
from worker.core.workflow.node_types import Node
from worker.errors import ConfigError
from worker.settings import Settings


class Poet(Llm):
    type = "poet"


class Nameless:
    pass


class Terms(Glossary):
    type = "terms"


class Portless(Node[dict[str, Any]]):
    type = "portless"

    def run(self, inputs: Any, data: Any, providers: Any) -> dict[str, Any]:
        return {}


class Misplaced(Terms):
    takes_message = "q"


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = [EntryPoint(name.lower(), f"{__name__}:{name}", nodes.GROUP) for name in names]
    monkeypatch.setattr(nodes, "entry_points", lambda *, group: found)


def test_without_packages_the_built_in_types_are_there() -> None:
    assert set(nodes.installed()) >= set(BUILT_IN)


def test_a_package_brings_a_type_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Poet")

    assert isinstance(nodes.installed()["poet"], Poet)


def test_a_type_that_v1_has_too_is_one_of_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Poet", "Terms")

    defaults = nodes.defaults(Settings(default_model="m", default_provider="p"), nodes.installed())

    assert (defaults.model, defaults.provider, list(defaults.types)) == ("m", "p", ["terms"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Nameless", "it is no subclass of worker.nodes.Node"),
        ("Portless", "its class sets no `ports`"),
        ("Llm", "'llm' is registered already"),
        ("Misplaced", "it takes the message by 'q', which is no text input"),
        ("Missing", "has no attribute 'Missing'"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    install(monkeypatch, name)

    with pytest.raises(ConfigError, match=f"the entry point {name.lower()} = .*{why}"):
        nodes.installed()
