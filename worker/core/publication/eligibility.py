"""Whether a bot may be published now: decided on what was read under the lock, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec

from worker.core.codes import quote
from worker.core.counted import some
from worker.core.targets.detect import of_types

Code = Literal[
    "busy",
    "duplicate_bot_id",
    "taken_back",
    "no_draft",
    "already_published",
    "draft_would_go_live",
    "no_way_back",
    "draft_edited",
    "not_proven",
    "v1_changed",
    "stale_target",
    "node_type_missing",
    "platform_refused",
]
CODES: Final[tuple[Code, ...]] = get_args(Code)
"""In the order in which they count; but a draft that the platform was not asked about is `busy` last."""

_SHOWN: Final = 5


class Proof(msgspec.Struct, frozen=True):
    """The content of a draft that did what V1 did, and the workflow of V1 that it was held against."""

    content_hash: int
    workflow_hash: int


class TakenBack(msgspec.Struct, frozen=True):
    """The publication that gave the bot back to V1 last, and whether it was proven again since then."""

    publication_id: int
    proven_since: bool


class Heard(msgspec.Struct, frozen=True):
    """What the platform's validator said of a draft: nothing where it takes it."""

    content_hash: int
    refusal: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A bot, its draft and its proof as they stand while both rows are locked.

    `is_locked` is false if another session has one of the rows: then the rest says nothing.
    `rows` is how many rows have the bot's id. `content_hash` is of the draft's graph and variables,
    None if there is no draft or it has no node; `is_ours` where a run wrote this graph.
    `workflow_hash` is of V1's column as text, None if it is null; `v1_problem` says why V1 does
    not run, "" where it does. `taken_back` is None if no publication ever gave the bot back to V1.
    `heard` is what the platform said of a draft of the bot, before the lock.
    """

    bot_id: str
    is_locked: bool = True
    rows: int = 1
    uses_v2: bool = False
    is_published: bool = False
    content_hash: int | None = None
    is_ours: bool = False
    node_types: frozenset[str] = frozenset()
    workflow_hash: int | None = None
    v1_problem: str = ""
    proof: Proof | None = None
    taken_back: TakenBack | None = None
    heard: Heard | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a person allowed, and what the platform has: its node types and its target (None: any).

    With `asks_platform` only a draft is published of which the platform's validator was heard.
    """

    publish_edited: bool = False
    live_drafts: bool = False
    node_types: frozenset[str] | None = None
    target: str | None = None
    asks_platform: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """Why a bot is not published."""

    code: Code
    message: str


def decide(seen: Seen, rules: Rules) -> Refusal | None:
    """Why this bot must not be published; None if it may.

    The first of `_CHECKS` that applies counts.

    >>> ready = Seen(bot_id="b", content_hash=1, is_ours=True, workflow_hash=2, proof=Proof(1, 2))
    >>> decide(ready, Rules()) is None
    True
    >>> decide(msgspec.structs.replace(ready, workflow_hash=3), Rules()).code
    'v1_changed'
    """
    for code, message in _CHECKS:
        if said := message(seen, rules):
            return Refusal(code, said)
    return None


def _busy(seen: Seen, _: Rules) -> str:
    return "" if seen.is_locked else "another session has its row or its draft locked"


def _duplicate(seen: Seen, _: Rules) -> str:
    return f"{seen.rows:,} rows of bots have this id" if seen.rows > 1 else ""


def _taken_back(seen: Seen, _: Rules) -> str:
    """A bot that went back to V1 stays there until a person has had it proven again."""
    back = seen.taken_back
    if back is None or back.proven_since or seen.uses_v2:
        return ""
    return (
        f"publication {back.publication_id} gave it back to V1, and it was not proven again since:"
        f" flowshift retry --publication {back.publication_id}"
    )


def _no_draft(seen: Seen, _: Rules) -> str:
    if seen.rows == 0:
        return "the bot is gone"
    return "there is no draft, or it has no node" if seen.content_hash is None else ""


def _already(seen: Seen, _: Rules) -> str:
    live = seen.uses_v2 and seen.is_published
    return "use_workflow_v2 is true and a version is published" if live else ""


def _live_draft(seen: Seen, rules: Rules) -> str:
    if rules.live_drafts or not seen.uses_v2 or seen.is_published:
        return ""
    return "use_workflow_v2 is true and no version is published: a platform may serve the draft already"


def _no_way_back(seen: Seen, _: Rules) -> str:
    if seen.workflow_hash is None:
        return "bots.workflow is empty: after a rollback nothing would answer"
    return f"V1 does not run: {seen.v1_problem}" if seen.v1_problem else ""


def _edited(seen: Seen, rules: Rules) -> str:
    if seen.is_ours or rules.publish_edited:
        return ""
    return "a person changed the draft; --publish-edited takes it once that content is validated"


def _not_proven(seen: Seen, _: Rules) -> str:
    if seen.proof is None:
        return "no execution of a draft of this bot agreed with V1"
    if seen.proof.content_hash != seen.content_hash:
        return "the draft is not the one whose executions agreed with V1"
    return ""


def _v1_changed(seen: Seen, _: Rules) -> str:
    is_same = seen.proof is not None and seen.proof.workflow_hash == seen.workflow_hash
    return "" if is_same else "bots.workflow has changed since the draft was held against it"


def _node_types(seen: Seen, rules: Rules) -> str:
    missing = sorted(seen.node_types - rules.node_types) if rules.node_types is not None else []
    named = some([quote(one) for one in missing], _SHOWN)
    return f"the platform has no node type {named}" if missing else ""


def _stale_target(seen: Seen, rules: Rules) -> str:
    own = of_types(seen.node_types).name
    if rules.target is None or own == rules.target:
        return ""
    return f"the draft is one for the target {own}, and the platform's is {rules.target}"


def _refused(seen: Seen, rules: Rules) -> str:
    if not rules.asks_platform or seen.heard is None:
        return ""
    return seen.heard.refusal if seen.heard.content_hash == seen.content_hash else ""


def _unheard(seen: Seen, rules: Rules) -> str:
    if not rules.asks_platform:
        return ""
    if seen.heard is not None and seen.heard.content_hash == seen.content_hash:
        return ""
    return "it changed while the platform was asked about it"


_CHECKS: Final[tuple[tuple[Code, Callable[[Seen, Rules], str]], ...]] = (
    ("busy", _busy),
    ("duplicate_bot_id", _duplicate),
    ("taken_back", _taken_back),
    ("no_draft", _no_draft),
    ("already_published", _already),
    ("draft_would_go_live", _live_draft),
    ("no_way_back", _no_way_back),
    ("draft_edited", _edited),
    ("not_proven", _not_proven),
    ("v1_changed", _v1_changed),
    ("stale_target", _stale_target),
    ("node_type_missing", _node_types),
    ("platform_refused", _refused),
    ("busy", _unheard),
)
