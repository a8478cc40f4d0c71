"""What a version does, as one hash: its graph and the variables that it starts with."""

from __future__ import annotations

from worker.db.expressions import graph_hash


def variables(row: str) -> str:
    """SQL for the variables of a row of `bot_workflow_versions`; those that are null count as none."""
    return (
        f"jsonb_build_array(COALESCE(to_jsonb({row}.environment_variables), jsonb_build_object()),"
        f" COALESCE(to_jsonb({row}.conversation_variables), jsonb_build_object()))"
    )


def content_hash(row: str, graph: str = "") -> str:
    """SQL for the hash of what a row of `bot_workflow_versions` does.

    One of the graph's hash and the variables, so that whoever has the former, as SQL in `graph`, does
    not hash the graph again. Of their text: see `graph_hash`.

    >>> content_hash("d").count("d.graph")
    1
    >>> content_hash("d", "n.graph_hash").count("d.graph")
    0
    """
    hashed = f"({graph or graph_hash(row)})::text || {variables(row)}::text"
    return f'hashtextextended(({hashed}) COLLATE "C", 0)'


def workflow_hash(row: str) -> str:
    """SQL for the hash of V1's column as text, as in `worker.db.bots`; null where it is null."""
    return f'hashtextextended({row}.workflow::text COLLATE "C", 0)'
