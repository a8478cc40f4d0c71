"""What the summary of a run that only executes drafts calls those that passed."""

from __future__ import annotations

import io
from typing import Any

import pytest

from worker.cli.printing import Console
from worker.cli.views.summary import print_summary
from worker.core.policy.progress import Counts, Progress
from worker.core.policy.states import RunKind
from worker.db.runs import Run, RunOptions
from worker.steps.report import RunReport


def a_report(kind: RunKind) -> RunReport:
    progress = Progress(
        run_id=1,
        request_id="r",
        state="completed",
        dry_run=False,
        counts=Counts(unchanged=7, validated=7),
        bots_total=7,
        batches_done=1,
        batches_failed=0,
        batches_total=1,
        rate=1.0,
        eta_s=0.0,
        elapsed_s=1.0,
        version=1,
    )
    nothing: dict[str, Any] = dict.fromkeys(Run.__struct_fields__)
    run = Run(**nothing | {"run_id": 1, "kind": kind, "options": RunOptions()})
    return RunReport(
        run=run, progress=progress, codes={}, failures=[], failed_batches=[], overhead=None
    )


@pytest.mark.parametrize(("validates", "name"), [(True, "validated"), (False, "unchanged")])
def test_a_validation_counts_validated_bots(validates: bool, name: str) -> None:
    out = io.StringIO()

    print_summary(Console(file=out, width=100), a_report("validate" if validates else "convert"))

    counted = dict(line.split()[:2] for line in out.getvalue().splitlines()[2:] if line)
    assert counted[name] == "7"
    assert ("unchanged" in counted) is not validates
