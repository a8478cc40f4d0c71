"""What a version does, as one hash: its graph and the variables that it starts with."""

from __future__ import annotations

from typing import Final

CONTENT_HASH: Final = """jsonb_hash_extended(jsonb_build_array(
               {row}.graph, COALESCE(to_jsonb({row}.environment_variables), jsonb_build_object()),
               COALESCE(to_jsonb({row}.conversation_variables), jsonb_build_object())), 0)"""
"""SQL for the hash of a row of `bot_workflow_versions`; variables that are null count as none."""

WORKFLOW_HASH: Final = 'hashtextextended({row}.workflow::text COLLATE "C", 0)'
"""SQL for the hash of V1's column as text, the same as in `worker.db.bots`; null where it is null."""


def content_hash(row: str) -> str:
    """`CONTENT_HASH` of the rows of an alias.

    >>> content_hash("d").count("d.graph")
    1
    """
    return CONTENT_HASH.format(row=row)


def workflow_hash(row: str) -> str:
    """`WORKFLOW_HASH` of the rows of an alias."""
    return WORKFLOW_HASH.format(row=row)
