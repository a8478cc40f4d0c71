"""The engines' bench runs, and measures what it says."""

from __future__ import annotations

import json

import pytest

from bench import engines


def test_the_bench_of_the_engines_measures_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["--executions", "2", "--rounds", "1"]) == 0
    assert "V2: execute" in capsys.readouterr().out

    assert engines.main(["--executions", "2", "--rounds", "1", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["us"]) == set(engines.parts())
