"""Ids of the rows that flowshift adds to the platform's tables: they rise from batch to batch.

UUIDs of version 8 (RFC 9562, section 5.8), with the run and the batch in front: rows of one batch are
neighbours in an index, where random ids would dirty a page of it each. What follows is a hash, so that
nothing depends on the numbers alone: after `db downgrade` they begin again.

    run, 24 bits │ batch, 24 bits │ version │ hash, 12 bits │ variant │ hash, 62 bits
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

import msgspec

_NUMBER: Final = (1 << 24) - 1
_LOW: Final = (1 << 62) - 1
_MARKS: Final = 8 << 76 | 2 << 62


class Source(msgspec.Struct, frozen=True):
    """What rows come of: a request, and the batch of its run; without a run, a person's own trial.

    `request_id` is unique in the world. A batch that is done again gives the same ids.
    """

    request_id: str
    run_id: int = 0
    batch: int = 0

    def row_id(self, bot_id: str, number: int = 0) -> uuid.UUID:
        """The id of a bot's draft (0), or of its execution on the message of that number.

        >>> Source("request", 26, 3).row_id("bot-1", 1)
        UUID('00001a00-0003-8812-986f-7df69102ed3f')
        """
        text = f"{self.request_id}\n{bot_id}\n{number}".encode("utf-8", "surrogatepass")
        hashed = int.from_bytes(hashlib.blake2b(text, digest_size=10).digest(), "big")
        front = (self.run_id & _NUMBER) << 104 | (self.batch & _NUMBER) << 80
        return uuid.UUID(int=front | (hashed >> 62 & 0xFFF) << 64 | _MARKS | hashed & _LOW)


def node_row_ids(execution_id: uuid.UUID, count: int) -> list[bytes]:
    """The ids of an execution's nodes, in order: those right after the execution's own.

    >>> execution_id = uuid.UUID("00001a00-0003-8812-986f-7df69102ed3f")
    >>> [str(uuid.UUID(bytes=one)) for one in node_row_ids(execution_id, 2)]
    ['00001a00-0003-8812-986f-7df69102ed40', '00001a00-0003-8812-986f-7df69102ed41']
    """
    whole = execution_id.int
    front = whole & ~_LOW
    return [(front | (whole + place) & _LOW).to_bytes(16, "big") for place in range(1, count + 1)]
