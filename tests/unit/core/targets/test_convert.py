"""What a draft follows from beside its workflow: the same everywhere, another for whatever decides."""

from __future__ import annotations

import pytest

from tests.custom_types import TYPES
from worker.core.targets import convert
from worker.core.targets.convert import recipe
from worker.core.targets.registry import TARGETS
from worker.core.workflow.config import Defaults

GUIDE, ANSWER = TARGETS["guide"], TARGETS["answer"]


def test_whatever_decides_gives_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        recipe(GUIDE, Defaults(), "2.12"),
        recipe(ANSWER, Defaults(), "2.12"),
        recipe(GUIDE, Defaults(model="gpt-4"), "2.12"),
        recipe(GUIDE, Defaults(provider="gpt-4"), "2.12"),
        recipe(GUIDE, Defaults(types=TYPES), "2.12"),
        recipe(GUIDE, Defaults(), "2.13"),
    ]
    monkeypatch.setattr(convert, "CONVERTER_VERSION", "other")
    found.append(recipe(GUIDE, Defaults(), "2.12"))

    assert len(set(found)) == len(found)
    assert all(-(2**63) <= one < 2**63 for one in found)


def test_a_recipe_is_the_same_in_every_process() -> None:
    backwards = dict(reversed(TYPES.items()))
    assert list(backwards) != list(TYPES)
    assert recipe(GUIDE, Defaults(types=backwards), "2.12") == recipe(
        GUIDE, Defaults(types=TYPES), "2.12"
    )
