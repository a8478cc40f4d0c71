"""What a version does, as one hash: its graph and the variables that it starts with."""

from __future__ import annotations


def variables(row: str) -> str:
    """SQL for the variables of a row of `bot_workflow_versions`; those that are null count as none."""
    return (
        f"jsonb_build_array(COALESCE(to_jsonb({row}.environment_variables), jsonb_build_object()),"
        f" COALESCE(to_jsonb({row}.conversation_variables), jsonb_build_object()))"
    )


def graph_hash(row: str) -> str:
    """SQL for the hash of a row's graph alone, as the ledger has it of the drafts that we wrote."""
    return f"jsonb_hash_extended({row}.graph, 0)"


def content_hash(row: str, graph: str = "") -> str:
    """SQL for the hash of what a row of `bot_workflow_versions` does.

    One of the graph's hash and the variables, so that whoever has the former, as SQL in `graph`, does
    not hash the graph again. As text: of a number PostgreSQL's hash leaves out the sign, and as a seed it
    counts only if there is a variable.

    >>> content_hash("d").count("d.graph")
    1
    >>> content_hash("d", "n.graph_hash").count("d.graph")
    0
    """
    hashed = f"({graph or graph_hash(row)})::text"
    return f"jsonb_hash_extended(jsonb_build_array({hashed}, {variables(row)}), 0)"


def is_content(row: str, noted: str, graph: str = "") -> str:
    """SQL for whether a row does what a hash was noted of, now or by an earlier version of flowshift.

    Those hashed graph and variables as one array.
    """
    earlier = f"jsonb_hash_extended(jsonb_build_array({row}.graph, {variables(row)}), 0)"
    return f"({noted} = {content_hash(row, graph)} OR {noted} = {earlier})"


def workflow_hash(row: str) -> str:
    """SQL for the hash of V1's column as text, as in `worker.db.bots`; null where it is null."""
    return f'hashtextextended({row}.workflow::text COLLATE "C", 0)'
