"""The manifest of a backup of the database: what is in it, and the hashes that it is held against.

It holds no secret, no address of a server and no content of a bot.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

FORMAT: Final = 1
KIND: Final = "flowshift backup"

MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
BOTS: Final = "bots.jsonl"


class Column(msgspec.Struct, frozen=True):
    """A column whose values are in the hash of its table, with its type as PostgreSQL writes it."""

    name: str
    type: str


class TableEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A table with its rows at the snapshot; `columns` in the order in which a row is hashed.

    `per_bot`: its rows count in the hash of their bot. Where `rows` are left out (`is_left_out`) the
    dump has the definition alone, and the hash says nothing.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    rows: int
    hash: str
    per_bot: bool = False
    is_left_out: bool = False

    @property
    def label(self) -> str:
        """Its name with its schema, for people."""
        return f"{self.schema}.{self.name}"


class FileEntry(msgspec.Struct, frozen=True):
    """A file of the backup: its bytes, and their SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backup. Times are UTC, as ISO 8601 has them.

    `server_version` and `tools_version` are whole numbers such as 160004 and 16. `snapshot` is
    what pg_current_snapshot() said in the snapshot that everything was read in.
    """

    kind: str = KIND
    format: int = FORMAT
    backup_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
    taken_at: str
    taken_by: str
    flowshift: str
    revision: str
    server_version: int
    tools_version: int
    snapshot: str
    with_executions: bool
    tables: tuple[TableEntry, ...]
    bots: int
    bots_file: FileEntry
    dump_file: FileEntry


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(text: bytes) -> Manifest:
    """A manifest from its JSON.

    Raises:
        ValueError: it is no manifest of ours, it is damaged, or a later flowshift wrote it; completes
            "the manifest …".
    """
    try:
        head = msgspec.json.decode(text, type=_Head)
    except msgspec.DecodeError as error:  # a ValidationError is one
        raise ValueError("is damaged, or not one of flowshift's") from error
    if head.kind != KIND:
        raise ValueError("is not one of flowshift's")
    if head.format != FORMAT:
        raise ValueError(
            f"has the format {head.format}, and this flowshift reads {FORMAT}: use the version of"
            " flowshift that took the backup"
        )
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise ValueError(f"is damaged: {error}") from error


class _Head(msgspec.Struct):
    kind: str
    format: int
