"""The files that pages load: ours, read once, under names that change with what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HERE: Final = Path(__file__).parent / "static"


class Asset(msgspec.Struct, frozen=True):
    """A file and the path under which it is answered."""

    path: str
    media_type: str
    content: bytes


def _read(file: Path) -> Asset:
    content = file.read_bytes()
    mark = hashlib.sha256(content).hexdigest()[:16]
    return Asset(f"/assets/{mark}/{file.name}", _TYPES[file.suffix], content)


ASSETS: Final[Mapping[str, Asset]] = {
    file.name: _read(file) for file in sorted(_HERE.iterdir()) if file.suffix in _TYPES
}


@get("/assets/{mark:str}/{name:str}", sync_to_thread=False, include_in_schema=False)
def asset(mark: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """A file, to be kept for ever: another content has another path.

    Raises:
        NotFoundException: there is none of that name and content.
    """
    found = ASSETS.get(name)
    if found is None or found.path != f"/assets/{mark}/{name}":
        raise NotFoundException("there is no such file: load the page again")
    return Response(
        found.content,
        media_type=found.media_type,
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )
