"""Digests of trials: what executing drafts beside V1 showed, and the rows that are recorded of it.

Of the corpora, of the sample fleet and of generated workflows, for every target, on echo and on
providers that fail or answer oddly. Two versions of the engines do and record the same, times aside, if
this prints the same for both:

    python -m tests.trials_digest 100000
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

from tests.custom_types import TYPES, WITH_TYPES
from tests.drafts_digest import AT_ONCE, corpora, main
from tests.strategies import numbered_column
from worker.core.engine import v1 as v1_engine
from worker.core.engine.program import Program
from worker.core.engine.registry import Registry, register
from worker.core.parity.messages import BUILT_IN
from worker.core.parity.recording import as_row
from worker.core.parity.trial import Equipment, try_draft
from worker.core.targets.convert import convert
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.calls import Providers
from worker.errors import BotError
from worker.providers.echo import Echo
from worker.sample import sample_bots

MESSAGES: Final = [(number, text, f"session {number}") for number, text in enumerate(BUILT_IN, 1)]


class Moody(Echo):
    """Echo, but by its prompt a model may fail, say nothing, or what no jsonb holds, or very much."""

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        said, _ = super().generate(prompt, model, provider, temperature, max_tokens)
        mood = crc32(prompt.encode(errors="surrogatepass")) % 8
        if mood == 0:
            raise ConnectionError(f"{model} is away \x00")
        odd = {1: "", 2: "\x00\ud800" + said, 3: "\n🙂\x7f" * 5_000}
        return odd.get(mood, said), len(prompt)


ECHO, MOODY = Echo(), Moody()
PAIRS: Final[tuple[tuple[Providers, Providers], ...]] = (
    (ECHO, ECHO),
    (MOODY, MOODY),
    (ECHO, MOODY),
)


def digests(generated: int) -> Iterator[str]:
    """A line for each target and source: its digest. Of generated workflows a line for a thousand."""
    for target in TARGETS.values():
        yield f"{target.name} corpora {_digest(corpora(), target)}"
        bots = (bot.workflow for bot in sample_bots(min(generated, 10_000)))
        yield f"{target.name} sample {_digest((one for one in bots if one), target)}"
        for first in range(0, generated, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, generated))
            yield f"{target.name} {first} {_digest(map(numbered_column, numbers), target)}"


def _digest(columns: Iterable[bytes], target: Target) -> str:
    """What trials of columns come to; the draft as it was just written, and as it is stored."""
    digest = hashlib.sha256()
    types = register(target.rules.built_in, *TYPES.values())
    equipments = [_equipment(pair, types, target) for pair in PAIRS]
    for number, column in enumerate(columns):
        messages = [MESSAGES[number % len(MESSAGES)]]
        try:
            workflow = v1.decode(column, WITH_TYPES)
            draft = convert(workflow, target)
            written, stored = target.prepare(draft, types), target.decode(draft.graph, types)
        except BotError as error:
            digest.update(error.code.encode())
            continue
        old = v1_engine.prepare(workflow)
        for equipment in equipments:
            found = _found(old, written, messages, equipment)
            if _found(old, stored, messages, equipment) != found:
                raise AssertionError(f"its plan and its graph differ: {column!r}")
            digest.update(found)
    return digest.hexdigest()


def _equipment(pair: tuple[Providers, Providers], types: Registry, target: Target) -> Equipment:
    return Equipment(lambda: pair, clock=lambda: 0.0, registry=types, target=target)


def _found(
    old: v1_engine.Program,
    new: Program,
    messages: Iterable[tuple[int, str, str]],
    equipment: Equipment,
) -> bytes:
    result = try_draft(old, new, messages, equipment)
    rows = [as_row("bot", one, equipment.target.recording) for one in result.executions]
    return repr((result, rows)).encode(errors="surrogatepass")


if __name__ == "__main__":
    sys.exit(main(digests))
