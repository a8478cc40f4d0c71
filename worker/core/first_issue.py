"""Which of several issues counts."""

from __future__ import annotations

from typing import Final

from worker.core.codes import FAILURE_CODES, Issue

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
