"""Outcomes, codes and warnings: the words that reach the ledger (design section 5)."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Outcome = Literal["converted", "unchanged", "skipped", "failed"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("converted", "unchanged", "skipped", "failed")

SKIP_CODES: Final = ("no_workflow", "already_v2", "draft_edited")

# In the order of design section 5: where several apply, the first counts.
FAILURE_CODES: Final = (
    "invalid_text",
    "too_large",
    "not_a_workflow",
    "no_nodes",
    "node_without_id",
    "node_without_type",
    "duplicate_node_id",
    "unknown_node_type",
    "start_count",
    "end_count",
    "edge_endpoint_missing",
    "self_loop",
    "cycle",
    "disconnected",
    "invalid_config",
    "execution_failed",
    "parity_mismatch",
    "worker_lost",
    "internal_error",
)
_RANK: Final = {code: rank for rank, code in enumerate(FAILURE_CODES)}

WarningCode = Literal[
    "renamed_node",
    "implicit_context",
    "context_not_used",
    "join_node",
    "end_takes_first_llm",
    "no_llm",
    "order_only_edge",
    "query_placeholder",
    "empty_template",
    "edge_id_replaced",
]


class Issue(msgspec.Struct, frozen=True):
    """One thing wrong with a workflow or a draft.

    `path` says where (`nodes[3]`, `edges[0]`, a node id), empty for the whole.
    """

    code: str
    path: str
    message: str


class ConversionWarning(msgspec.Struct, frozen=True):
    """A place where the draft differs from what V1's picture suggested.

    `node` is the id of the node in V1, null where the whole workflow is meant.
    """

    code: WarningCode
    node: str | None
    message: str


def first_issue(issues: list[Issue]) -> tuple[Issue, tuple[str, ...]]:
    """The issue that counts, and the codes of the rest, in the order of `FAILURE_CODES`.

    Raises:
        ValueError: there is no issue.

    >>> first_issue([Issue("cycle", "", "a cycle"), Issue("start_count", "", "no start")])
    (Issue(code='start_count', path='', message='no start'), ('cycle',))
    """
    if not issues:
        raise ValueError("no issue to choose from")
    ordered = sorted(issues, key=lambda issue: _RANK[issue.code])
    first = ordered[0]
    rest = dict.fromkeys(issue.code for issue in ordered if issue.code != first.code)
    return first, tuple(rest)


def quote(text: str, limit: int = 60) -> str:
    """`text` in quotes, cut at `limit` characters, unprintable characters escaped.

    Messages hold ids that a stranger chose: nothing in one may move a terminal's cursor or turn
    the writing direction round.

    >>> quote("a\\x1b[2J")
    "'a\\\\x1b[2J'"
    """
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    if shown.isprintable():
        return f"'{shown}'"
    printable = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return "'" + "".join(printable) + "'"
