"""The engines do, and the recorder records, what they always did."""

from __future__ import annotations

import pytest

from tests.drafts_digest import DATA
from tests.trials_digest import digests


@pytest.mark.unmeasured
def test_trials_and_their_rows_are_those_of_the_engines_before() -> None:
    """Calls, answers, outcomes and rows: as `python -m tests.trials_digest 50` said of them."""
    assert list(digests(50)) == (DATA / "trials_digest.txt").read_text().splitlines()
