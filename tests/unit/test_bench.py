"""The benches run, and measure what they say."""

from __future__ import annotations

import json

import pytest

from bench import engines, platform_word
from worker.steps.batch.decide import Converted


def test_the_bench_of_the_engines_measures_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["--executions", "2", "--rounds", "1"]) == 0
    assert "V2: execute" in capsys.readouterr().out

    assert engines.main(["--executions", "2", "--rounds", "1", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["us"]) == set(engines.parts())


def test_the_bench_of_the_platforms_word_asks_about_every_draft(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = platform_word.Bench(100)
    try:
        decided = [one.what for one in bench.both()]
        results = [one.trial_result for one in decided if isinstance(one, Converted)]
        assert len(results) > 50
        assert all(trial_result is not None and trial_result.agreed for trial_result in results)
    finally:
        bench.close()

    assert platform_word.main(["--bots", "20", "--rounds", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["us"]) == 4
