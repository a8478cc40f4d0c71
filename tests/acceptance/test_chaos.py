"""The chaos command: it plays a round, says what it did, and what held."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.acceptance


def test_a_publication_and_its_rollback_hold_through_kills_outages_and_many_operators() -> None:
    played = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", "1", "--round", "3", "--bots", "150"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "round 3 of seed 1: 150 bots, published and rolled back" in played.stdout
    assert "others at once" in played.stdout
    assert "sick from now on" in played.stdout
    assert "the provider answers nobody" in played.stdout
    assert "ok   no bot was quarantined that was never sick" in played.stdout
    assert "FAIL" not in played.stdout


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
