"""The commands around the gate: gate, accept."""

from __future__ import annotations

import click

from worker.cli.arguments import TEXT, Whole
from worker.cli.options import json_option
from worker.cli.printing import console, print_json
from worker.cli.publication import detach_option, follow_going, publication_argument
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.gate import explained_fields, print_evidence, print_verdict
from worker.steps.publication import control
from worker.steps.publication.report import explain

wave_argument = click.argument(
    "wave", metavar="[WAVE]", type=Whole(1, 2_147_483_647), required=False
)

DISAGREES = 4
"""The exit code of `gate --explain` where a verdict does not follow from its reading."""


@click.command()
@publication_argument
@wave_argument
@click.option(
    "--explain",
    "with_evidence",
    is_flag=True,
    help="Show the evidence, and judge it again.",
)
@json_option
def gate(*, publication_id: int, wave: int | None, with_evidence: bool, as_json: bool) -> int:
    """Show what the gate says of WAVE of publication N, by default of the one that it last looked at.

    With --explain, show by what it says so, and compute the verdict again from what is stored.

    The exit code is 0 while nothing is known against the wave (also if it passed or was accepted), 1 if
    it alarmed, failed, is disturbed or inconclusive, and 4 if the verdict that is stored does not
    follow from the reading that is stored with it.

    \b
    Examples:
      flowshift gate 1
      flowshift gate 1 2 --explain
      flowshift gate 1 --explain --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = explain(current.engine, publication_id, wave)
    if as_json:
        print_json(explained_fields(found, with_evidence=with_evidence))
    else:
        print_verdict(console(), found)
        if with_evidence:
            print_evidence(console(), found)
    if not found.agrees:
        return DISAGREES
    is_good = found.kept is None or found.kept.outcome in ("watching", "passed")
    return 0 if is_good or found.wave.state == "accepted" else 1


@click.command()
@publication_argument
@wave_argument
@click.option(
    "--reason",
    type=TEXT,
    metavar="TEXT",
    required=True,
    show_default="needed",
    help="Why, for the audit trail.",
)
@detach_option
@json_option
def accept(
    *, publication_id: int, wave: int | None, reason: str, detach: bool, as_json: bool
) -> int:
    """Accept WAVE of publication N, which the gate did not let pass; it is never judged again.

    By default that is the wave which was inconclusive or failed. One that is still watched has to be
    named, so that the command typed twice never accepts the wave that came after. Your name and the
    reason go on record, and the next wave begins, unless a person or a health check holds the publication.

    \b
    Examples:
      flowshift accept 1 --reason "little traffic at night, and no complaint"
      flowshift accept 1 2 --reason "the errors are the visitors' own" --detach
    """
    configure_logging()
    with opened() as current:
        going = control.accept(current, publication_id, wave, actor=person(), reason=reason)
        return follow_going(current, going, detach=detach, as_json=as_json)
