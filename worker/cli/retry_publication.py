"""Publish bots anew that a publication gave back to V1: what `retry --publication` does and prints."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from worker.app import app
from worker.cli import workers
from worker.cli.options import Starting
from worker.cli.printing import confirm_count, print_json, print_json_with, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.starting import follow_to_end, print_outcomes, print_report
from worker.cli.views.publication import publication_head, wave_fields
from worker.core.counted import counted
from worker.core.policy.states import words
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps import retry_publication as step
from worker.steps.enqueue import top_up
from worker.steps.publication.report import read_publication
from worker.steps.retry_publication import Again, Retried


def retry_publication(again: Again, starting: Starting, *, yes: bool) -> int:
    """Show what would be published anew, ask, record it, and follow it; returns the exit code."""
    configure_logging()
    with opened() as current:
        chosen = step.look(current, again)
        bots = sum(chosen.values())
        if not starting.as_json:
            say(_preview(again.publication_id, chosen))
        question = f"{counted(bots, 'bot')} to be converted, proven and published anew."
        confirm_count(question, bots, yes=yes)
        made = step.retry(
            current,
            CeleryQueue(app),
            again,
            request_id=starting.request_id or str(uuid.uuid4()),
            actor=person(),
            confirmed=bots,
        )
        if starting.detach:
            return _detached(current, made, as_json=starting.as_json)
        return _followed(current, made, starting)


def _preview(publication_id: int, chosen: Mapping[str, int]) -> str:
    each = ", ".join(f"{count:,} {words(state)}" for state, count in sorted(chosen.items()))
    return f"publication {publication_id}: {each}"


def _detached(current: Runtime, made: Retried, *, as_json: bool) -> int:
    if as_json:
        print_json(made)
    else:
        say(
            f"publication {made.publication_id} waits for run {made.run_id}, which converts and proves its"
            f" bots; then it begins with one bot. Follow it: flowshift watch {made.run_id}, then"
            f" flowshift publication {made.publication_id}"
        )
    workers.hint(current, made.run_id)
    return 0


def _followed(current: Runtime, made: Retried, starting: Starting) -> int:
    """Follow each run, the conversion first, until the first wave is out or nothing is to be published."""
    quiet = starting.as_json
    code, done = 0, set[int]()
    run_id: int | None = made.run_id
    while run_id is not None and run_id not in done:
        follow_to_end(current, run_id, quiet=quiet)
        if not quiet:
            if starting.verbose:
                print_outcomes(current, run_id)
            code |= print_report(current, run_id)
        done.add(run_id)
        run_id = _next(current, made.publication_id, quiet=quiet)
    found = read_publication(current.engine, current.settings, made.publication_id)
    if quiet:
        head = {**publication_head(found), "run_id": made.run_id}
        print_json_with(head, "waves", wave_fields(found))
    return 1 if found.publication.state == "stopped" else code


def _next(current: Runtime, publication_id: int, *, quiet: bool) -> int | None:
    """Let the publication go on if it can; returns the run that works for it now, None for none."""
    going = step.publish_proven(current, publication_id, actor=person())
    if not quiet:
        say(f"publication {publication_id} {going.said}")
    if going.run_id is not None:
        window = current.settings.batch_window
        top_up(current.engine, CeleryQueue(app), going.run_id, window=window)
    return going.run_id
