"""What `check-target` prints."""

from __future__ import annotations

from worker.cli.printing import Console, Text
from worker.cli.views.target import print_target
from worker.steps.check_target import Checked

_UNASKED = (
    "No word of the platform's is connected: only flowshift's own checklist and engines were asked. "
    "Set FLOWSHIFT_PLATFORM_CHECK to its validator and FLOWSHIFT_PLATFORM_ENGINE to its engine "
    "(docs/how-to/platform-word.md), then run this again."
)


def print_checked(out: Console, checked: Checked) -> None:
    """Print who was asked, what agrees by kind, and what differs in full."""
    print_target(out, checked.target)
    for capability in checked.platform:
        out.print(Text(capability.in_words()))
    if not checked.platform:
        out.print(Text(_UNASKED, "yellow"))
    out.print(f"{checked.workflows} workflows, {checked.messages} messages each")
    for kind in checked.kinds:
        agree = kind.workflows - kind.differ
        line = f"{kind.kind:<18}{agree:>4} of {kind.workflows} agree"
        out.print(Text(line, "red" if kind.differ else ""))
    for code, count in checked.warnings.items():
        out.print(Text(f"{'warning ' + code:<34}{count:>4} workflows", "yellow"))
    for one in checked.differences:
        out.print(Text(f"{one.workflow}  {one.code}: {one.message}", "red"))
    if checked.differences:
        out.print(Text(f"{len(checked.differences)} differ", "bold red"))
    else:
        who = "flowshift's own engines" if not checked.platform else "the platform"
        out.print(Text(f"nothing differs, says {who}", "bold green"))
