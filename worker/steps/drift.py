"""Why a draft does something else than V1, and what to do about it, in words."""

from __future__ import annotations

import shlex
from typing import Final

from worker.core.shown import plain
from worker.core.targets.registry import TARGETS
from worker.db.inspect import BotView
from worker.steps.examine import Examined

WHY: Final = {
    "edited": "a person drew or changed this draft; a conversion writes something else:",
    "outdated": "the draft was written from an earlier state of the workflow; it would now be:",
    "engine": "a conversion writes just this draft: no draft can say what V1 does here",
    "conversion": "a conversion writes just this draft: the fault is flowshift's",
}


def next_step(view: BotView, examined: Examined, target: str) -> str:
    """What a person does with a draft that differs from V1; `target` is the platform's."""
    cause = examined.drift and examined.drift.cause
    if cause == "engine":
        return (
            "nothing, if users may see an empty answer there; else let the first LLM always answer"
        )
    if cause == "conversion":
        return "do not publish the draft; report what show --json says of this bot"
    if view.uses_v2 and view.is_published:
        return "the bot runs V2 and no run touches it: correct the draft in the platform's editor"
    command = f"flowshift migrate --bot-id {plain(shlex.quote(view.bot_id))}"
    if view.uses_v2:
        command += " --live-drafts" if TARGETS[target].serves_drafts else " --include-flagged"
    if cause == "outdated":
        return f"convert it again: {command}"
    runs = examined.verdict.first.v2.error is None
    keep = "keep the draft if the other answer is meant" if runs else "correct the draft"
    return f"{keep}; to have it do what V1 does instead: {command} --overwrite-edited"
