"""The chaos command: it plays a round, says what it did, and what held."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.acceptance


def test_a_round_of_chaos_prints_its_ledger_and_everything_held() -> None:
    played = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", "3", "--round", "2", "--bots", "300"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "round 2 of seed 3: 300 bots, new" in played.stdout
    assert "  batch " in played.stdout
    assert "FAIL" not in played.stdout
    assert "1 rounds of seed 3, and everything held" in played.stdout
