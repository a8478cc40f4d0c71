"""Request ids: one stands for one request, so that it is carried out once, however often it comes."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.codes import quote
from worker.errors import ConflictError

Made = Literal["run", "publication", "rollback"]
"""What a request with an id makes."""


def digest(*asked: Any) -> str:
    """What tells a request from another one: of what is asked for beyond the defaults.

    A field that a later version adds changes nothing as long as no request fills it.
    """
    told = _encoder.encode([_told(one) for one in asked])
    return hashlib.sha256(told).hexdigest()[:32]


_encoder: Final = msgspec.json.Encoder(
    enc_hook=str, order="sorted"
)  # a share of bots is a Fraction


def _told(value: Any) -> Any:
    if not isinstance(value, msgspec.Struct):
        return value
    fields = ((one, getattr(value, one.name)) for one in msgspec.structs.fields(value))
    return {one.name: _told(given) for one, given in fields if given != one.default}


def need_same(request_id: str, found: str, kept: str, asked: str) -> None:
    """Refuse a request whose id belongs to `found`, which another request made.

    Without `kept` it was made by a version that kept no digest: then it is taken for the same.

    Raises:
        ConflictError: what is asked for is not what was asked for then.
    """
    if kept not in ("", asked):
        raise _belongs(request_id, found, "which another request made")


def need_free(connection: sa.Connection, request_id: str, makes: Made) -> None:
    """Refuse a request that makes a run, a publication or a rollback if its id made something else.

    Raises:
        ConflictError: the id belongs to what is no `makes`.
    """
    for made, query in _OF_ANOTHER.items():
        number = None if made == makes else connection.scalar(query, {"id": request_id})
        if number is not None:
            raise _belongs(request_id, f"{made} {number}", f"and this asks for a {makes}")


def _belongs(request_id: str, found: str, why: str) -> ConflictError:
    return ConflictError(
        f"the request id {quote(request_id)} belongs to {found}, {why}: nothing was started; use"
        " another"
    )


# One look into the unique index of request ids for each publication: there are few.
_OF_ANOTHER: Final[dict[Made, sa.TextClause]] = {
    "run": sa.text("SELECT run_id FROM flowshift.runs WHERE request_id = :id"),
    "publication": sa.text(
        "SELECT publication_id FROM flowshift.publications WHERE request_id = :id"
    ),
    "rollback": sa.text("""
        SELECT p.publication_id FROM flowshift.publications p
        JOIN flowshift.runs r ON r.request_id = 'rollback-' || p.publication_id || '-' || CAST(:id AS text)
        LIMIT 1
    """),
}
