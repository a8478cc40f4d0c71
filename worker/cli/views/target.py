"""Which target there is, and why, in a line or two."""

from __future__ import annotations

import shlex

from worker.cli.printing import Console, Text
from worker.core.shown import plain
from worker.core.targets.detect import Choice


def print_stale(out: Console, own: str, platform: str, bot_id: str) -> None:
    """Print that a draft is for another target than the platform's, and what to do."""
    command = f"flowshift migrate --bot-id {plain(shlex.quote(bot_id))}"
    out.print(
        Text(
            f"stale_target: the draft is one for {own}, and the platform's target is {platform}, which "
            f"may not run it as {own} does; to make one for {platform}: {command}",
            "yellow",
        )
    )


def print_target(out: Console, choice: Choice, label: str = "target") -> None:
    """Print the target, why it is this one, and what contradicts that."""
    out.print(Text(f"{label} {choice.target}: {choice.reason}"))
    if choice.finding is not None:
        out.print(Text(f"- {choice.finding}", "yellow"))
