"""Outcomes, codes and warnings: the words that reach the ledger (design section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from worker.core.printable import escape, shorten

Outcome = Literal["converted", "unchanged", "published", "rolled_back", "skipped", "failed"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

SKIP_CODES: Final = (
    "duplicate_bot_id",
    "no_workflow",
    "already_v2",
    "flagged_without_version",
    "draft_edited",
    "stale_target",
    "no_draft",
    "budget_spent",
    "taken_back",
    "not_proven",
    "v1_changed",
    "node_type_missing",
    "no_way_back",
    "already_published",
    "newer_version",
    "draft_would_go_live",
    "busy",
)

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
    "platform_refused",
    "not_recorded",
    "worker_lost",
    "internal_error",
)

WarningCode = Literal[
    "renamed_node",
    "implicit_context",
    "context_not_used",
    "implicit_response",
    "join_node",
    "end_takes_first_llm",
    "no_llm",
    "order_only_edge",
    "query_placeholder",
    "empty_template",
    "edge_id_replaced",
    "prompt_trimmed",
    "placeholder_removed",
    "second_search",
    "search_errors",
    "context_in_message",
]
WARNING_CODES: Final[tuple[WarningCode, ...]] = get_args(WarningCode)

DIFFERENCE_CODES: Final[tuple[WarningCode, ...]] = (
    "empty_template",
    "prompt_trimmed",
    "placeholder_removed",
    "second_search",
    "search_errors",
    "context_in_message",
)
"""The warnings that name a difference from V1 which no draft for the target can avoid."""

MEANINGS: Final[Mapping[str, str]] = {
    "converted": "A draft was written, or in a dry run would have been",
    "unchanged": "The draft that is there says the same already",
    "published": "The draft is the live version now, and the bot runs on V2",
    "rolled_back": "V1 answers again, or the bot is gone",
    "skipped": "There was nothing to convert or to publish, or a person's work would have been lost",
    "failed": "The bot has no new draft; its V1 workflow goes on running as before",
    "duplicate_bot_id": "Several rows of `bots` have this id: which of them is the bot cannot be known",
    "no_workflow": "The column is empty, or holds JSON's null",
    "already_v2": "The platform runs this bot on V2 (`use_workflow_v2` is true, a version is published)",
    "flagged_without_version": "`use_workflow_v2` is true, but no version of the bot is published: the "
    "platform has nothing to run, and the bot cannot answer",
    "draft_edited": "The bot has a draft that no run wrote as it stands: a person drew or changed it",
    "stale_target": "The draft was written for another target than the one that the platform has now, and "
    "a person edited it, or it was to be validated",
    "no_draft": "There is no draft to validate or to publish, or one without a node",
    "budget_spent": "The validation asked real models, and its budget was spent before this bot's turn",
    "taken_back": "A publication gave the bot back to V1, and it was not proven again since",
    "not_proven": "The draft is not the very content whose executions agreed with V1",
    "v1_changed": "The workflow of V1 is not the one that the draft was held against",
    "node_type_missing": "The draft has a node of a type that the platform lacks",
    "no_way_back": "V1 is gone or does not run: after a rollback nothing would answer",
    "newer_version": "A version is live that the publication did not make: a rollback leaves it alone",
    "already_published": "The bot answers with a published version already",
    "draft_would_go_live": "`use_workflow_v2` is true and no version is published: a platform of the "
    "target `answer` runs the draft, so that what is written there is live at once",
    "busy": "Another session has the bot's row or its draft locked",
    "invalid_text": "PostgreSQL's jsonb cannot hold the text: a NUL, half a surrogate pair, a number "
    "beyond numeric",
    "too_large": "Over 4 MiB of JSON, 2,000 nodes, 10,000 edges or 100 levels, or a draft would be",
    "not_a_workflow": "The column holds no JSON, or JSON that is no workflow",
    "no_nodes": "The list of nodes is empty or missing",
    "node_without_id": "A node has no id, or one that is neither a text nor a number",
    "node_without_type": "A node has no type",
    "duplicate_node_id": "Two nodes have the same id",
    "unknown_node_type": "A node has a type that V1 does not know, and no installed package brings",
    "start_count": "There is no start node, or more than one",
    "end_count": "There is no end node, or more than one",
    "edge_endpoint_missing": "An edge leads from or to a node that does not exist",
    "self_loop": "An edge leads from a node to itself",
    "cycle": "The edges form a cycle",
    "disconnected": "A node has no edge in, or no edge out, that V1 wants there",
    "invalid_config": "A node's setting is out of bounds or of the wrong kind, so that V1 refuses it",
    "execution_failed": "The draft is there, but executing it failed where V1 gives an answer",
    "parity_mismatch": "The draft is there, but makes other calls than V1 or gives another answer",
    "platform_refused": "The platform's own validator refuses the draft, or breaks over it: it is not "
    "written; one that is there is not published, and its bot skipped",
    "not_recorded": "The database accepted the bot's execution and did not keep all its rows: nothing was "
    "written for the bot",
    "worker_lost": "The bot kills the process that converts it, or takes too long or too much memory",
    "internal_error": "A fault of flowshift's or an unexpected refusal of the database's",
    "renamed_node": "A selector could not name the node: its id has a dot, is reserved, or is a number",
    "implicit_context": "V1 shows an LLM what a search found that no edge connects to it",
    "context_not_used": "`use_context_from` leaves out a search that an edge connects to the LLM",
    "implicit_response": "V1 shows a node of a type of your own what the first LLM said, and no edge does",
    "join_node": "Several searches feed one LLM: a node of the type `text-join` joins them",
    "end_takes_first_llm": "V1 answers with the first LLM to run, not with what the end is drawn to",
    "no_llm": "There is no LLM: V1 always answers with its fixed sentence, and so does the draft",
    "order_only_edge": "Nothing flows along an edge: in V1 it only fixes the order",
    "query_placeholder": "The prompt holds `{query}` or `{system_prompt}`: plain text in V1, a "
    "placeholder in V2; the draft writes it so that the same text comes out",
    "empty_template": "V1 leaves its context line out where a search finds nothing; the draft keeps it",
    "edge_id_replaced": "An edge got a new id: its own was another edge's already, or no text",
    "prompt_trimmed": "V2 strips a prompt and squeezes its blank lines, which V1 sends as they are",
    "placeholder_removed": "A message or document holds `{system_prompt}`: V2 removes it, V1 does not",
    "second_search": "Where a search finds nothing, the target `answer` searches all documents and then "
    "gives a sentence of its own; V1 gives an empty context",
    "search_errors": "Where a search fails, the target `answer` fails the execution; V1 answers all the "
    "same",
    "context_in_message": "V1 replaces `{context}` in a message that holds it; the target `answer` does "
    "not",
}
"""What each outcome and code means, in one line, for the generated page docs/reference/codes.md."""

_FIX: Final = "Fix the workflow in V1's editor, then retry"
_LOOK: Final = "Nothing, if the bot answers as it should: the draft does what V1 did"
REMEDIES: Final[Mapping[str, str]] = {
    "converted": "Read its warnings, if it has any",
    "unchanged": "Nothing",
    "published": "Nothing; `flowshift rollback` gives it back to V1",
    "rolled_back": "Nothing; once the cause is gone, `flowshift retry --publication N` converts, proves "
    "and publishes it again",
    "skipped": "See the code",
    "failed": "See the code",
    "duplicate_bot_id": "Make the id unique (`flowshift db check` lists such ids), then run again",
    "no_workflow": "Nothing",
    "already_v2": "Nothing",
    "flagged_without_version": "Set `use_workflow_v2` back to false, or convert the bot anyway "
    "(`flowshift migrate --include-flagged`) and publish the draft",
    "draft_edited": "Keep the draft, or replace it with `--overwrite-edited`; to publish it, validate it, "
    "then publish with `--publish-edited`",
    "stale_target": "Convert the bot again: `flowshift migrate --bot-id BOT`, with `--overwrite-edited` if "
    "a person edited the draft; if the target is wrong, set `FLOWSHIFT_TARGET`",
    "no_draft": "Convert the bot: `flowshift migrate --bot-id BOT`",
    "budget_spent": "Validate it again with a larger budget, or on echo",
    "taken_back": "Once the cause is gone, `flowshift retry --publication N`: it converts, proves and "
    "publishes. Or validate the draft that is there, then publish again",
    "not_proven": "Validate the draft, then publish again",
    "v1_changed": "Convert and validate the bot again, then publish again",
    "node_type_missing": "Register the node type with the platform, or change the draft",
    "no_way_back": "Restore the workflow of V1 or fix it, then publish again",
    "already_published": "Nothing",
    "newer_version": "Nothing, or switch the bot back in the platform",
    "draft_would_go_live": "Set `use_workflow_v2` back to false, or write it anyway: "
    "`flowshift migrate --live-drafts`, or publish with `--live-drafts`",
    "busy": "Nothing: the bot is tried again later",
    "invalid_text": "Remove the character or number that the message names, then retry",
    "too_large": "Split the workflow or move its contents elsewhere, then retry",
    "not_a_workflow": "Restore the column from the platform's own history, then retry",
    "no_nodes": _FIX,
    "node_without_id": _FIX,
    "node_without_type": _FIX,
    "duplicate_node_id": _FIX,
    "start_count": _FIX,
    "end_count": _FIX,
    "edge_endpoint_missing": _FIX,
    "self_loop": _FIX,
    "cycle": _FIX,
    "disconnected": _FIX,
    "unknown_node_type": "Install the package that brings the type, or fix the workflow, then retry",
    "invalid_config": "Set the value that the message names within its bounds, then retry",
    "execution_failed": "See which node failed (`flowshift show BOT`), fix it, then retry",
    "parity_mismatch": "Read what differs (`flowshift show BOT`): if the change is meant, leave it; else "
    "`flowshift migrate --bot-id BOT --overwrite-edited`",
    "platform_refused": "Read the platform's words (`flowshift show BOT`): fix the workflow, or run "
    "`flowshift check-target` if the workflow is fine",
    "not_recorded": "See which trigger, rule, policy or unique index of the execution tables suppresses "
    "rows (`flowshift db check` tries them), then retry",
    "worker_lost": "The message says how its workers ended: fix it, or raise the limit that it met; retry",
    "internal_error": "Read the message and traceback (`flowshift show BOT`) and report them; retry later",
    "renamed_node": "Change whatever outside the workflow names the node",
    "implicit_context": _LOOK,
    "context_not_used": "Remove the edge or the key, if it was a mistake",
    "implicit_response": _LOOK,
    "join_node": "Register the node type `text-join` with the platform before publishing",
    "end_takes_first_llm": "If the last answer was meant, connect it in the draft",
    "no_llm": "Ask the bot's owner whether it is in use",
    "order_only_edge": _LOOK,
    "query_placeholder": "Nothing; reword the prompt if a person is to edit it",
    "empty_template": "Give the node a template, if a prompt with an empty context does harm",
    "edge_id_replaced": "Change whatever outside the workflow names the edge",
    "prompt_trimmed": "Nothing, if blanks do not matter to the model; `--strict` makes it a failure",
    "placeholder_removed": "Nothing, unless users write `{system_prompt}`; `--strict` makes it a failure",
    "second_search": "See that each search's documents exist: then it finds something",
    "search_errors": "Nothing; watch the platform's failed executions after publishing",
    "context_in_message": "Nothing, unless users type `{context}`",
}
"""What a person does next about each outcome and code; beside `MEANINGS` in docs/reference/codes.md."""


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


_RANK: Final = {code: rank for rank, code in enumerate(FAILURE_CODES)}


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


def parse_differences(text: str) -> tuple[WarningCode, ...]:
    """The known differences that a text names: `all`, or codes with commas between; none if it is empty.

    Raises:
        ValueError: a code is none of them; says which there are.

    >>> parse_differences("second_search, prompt_trimmed")
    ('prompt_trimmed', 'second_search')
    """
    names = {name.strip() for name in text.split(",")} - {""}
    if names == {"all"}:
        return DIFFERENCE_CODES
    if unknown := sorted(names - set(DIFFERENCE_CODES)):
        known = ", ".join(DIFFERENCE_CODES)
        raise ValueError(f"{quote(unknown[0])} is no known difference: all, or some of {known}")
    return tuple(code for code in DIFFERENCE_CODES if code in names)


def quote(text: str, limit: int = 60) -> str:
    """`text` in quotes, cut at `limit` characters, all that is not printable escaped.

    Messages hold untrusted ids: nothing in one may move a terminal's cursor or turn
    the writing direction round.

    >>> quote("a\\x1b[2J")
    "'a\\\\x1b[2J'"
    """
    shown = escape(shorten(text, limit))
    if shown.isprintable():
        return f"'{shown}'"
    # In an id every character counts: joiners and wide spaces are not seen in it either.
    printable = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return "'" + "".join(printable) + "'"
