"""Digests of drafts: of the corpora, of the sample fleet and of generated workflows, for every target.

Two versions of the converter write the same drafts if this prints the same for both:

    python -m tests.drafts_digest 100000
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.custom_types import WITH_TYPES
from tests.strategies import numbered_column
from worker.core.corpus.corpus import corpus
from worker.core.targets.convert import CONVERTER_VERSION, convert_text
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Target
from worker.errors import BotError
from worker.sample import sample_bots

DATA = Path(__file__).parent / "data"
AT_ONCE = 1_000


def digests(generated: int) -> Iterator[str]:
    """The converter's version, then a line for each target and source: its digest.

    Of generated workflows a line for a thousand.
    """
    yield f"converter version {CONVERTER_VERSION}"
    for target in TARGETS.values():
        yield f"{target.name} corpora {_digest(corpora(), target)}"
        bots = (bot.workflow for bot in sample_bots(min(generated, 10_000)))
        yield f"{target.name} sample {_digest((one for one in bots if one), target)}"
        for first in range(0, generated, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, generated))
            yield f"{target.name} {first} {_digest(map(numbered_column, numbers), target)}"


def corpora() -> Iterator[bytes]:
    """The columns of every corpus, the hostile ones included."""
    yield from (case.workflow for case in corpus())
    for path in sorted(DATA.glob("v1_*.jsonl")):
        for line in path.read_bytes().splitlines():
            case = json.loads(line)
            yield case["column_text"].encode() if "column_text" in case else _text(case["workflow"])


def _text(workflow: object) -> bytes:
    return json.dumps(workflow).encode()


def _digest(columns: Iterable[bytes], target: Target) -> str:
    """What becomes of columns; each is converted twice, from a plan that may be new, then from one
    that is known."""
    digest = hashlib.sha256()
    for column in columns:
        first = _converted(column, target)
        if _converted(column, target) != first:
            raise AssertionError(f"not the same twice: {column!r}")
        digest.update(first)
    return digest.hexdigest()


def _converted(column: bytes, target: Target) -> bytes:
    try:
        draft = convert_text(column, WITH_TYPES, target)
    except BotError as error:
        return f"{error.code} {error}".encode(errors="surrogatepass")
    return draft.graph + repr(draft.warnings).encode(errors="surrogatepass")


def main(found: Callable[[int], Iterator[str]]) -> int:
    """Print the digests, for as many generated workflows as the argument says."""
    for line in found(int(sys.argv[1])):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(digests))
