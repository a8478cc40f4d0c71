"""The values in requests: ids, numbers and texts that the database can hold, with their bounds."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from msgspec import Meta

LONGEST_ID: Final = 255

MOST: Final = 10**15
"""The largest number of a run, a publication or an entry that is asked for."""

MOST_WAVES: Final = 10**6

BotId: TypeAlias = Annotated[
    str, PathParameter(description="The bot's id.", min_length=1, max_length=LONGEST_ID)
]
RunId: TypeAlias = Annotated[int, PathParameter(description="The run's number.", ge=1, le=MOST)]
PublicationId: TypeAlias = Annotated[
    int, PathParameter(description="The publication's number.", ge=1, le=MOST)
]
WaveNumber: TypeAlias = Annotated[
    int, PathParameter(description="The wave's number, from 1.", ge=1, le=MOST_WAVES)
]
Limit: TypeAlias = Annotated[int, QueryParameter(description="At most so many.", ge=1, le=1_000)]
IdempotencyKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="The same request with the same key again finds what the first one made, and makes "
        "nothing new; another request with that key is refused (409).",
        min_length=1,
        max_length=200,
    ),
]

NO_NUL: Final = r"^[^\x00]*$"
Text: TypeAlias = Annotated[str, Meta(pattern=NO_NUL, max_length=2_000)]
"""A text that the database can hold, such as a reason."""

Message: TypeAlias = Annotated[str, Meta(pattern=NO_NUL, min_length=1, max_length=100_000)]
"""What a user says to a bot."""


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit trail."""

    reason: Text | None = None
