"""Workers, the beat and Flower, as `health` and `status` show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.policy.processes import Health, Process, in_one_line
from worker.core.shown import plain

SENTENCE_WIDTH: Final = 1_000


def health_lines(healths: Sequence[Health]) -> list[str]:
    """What works and what does not, a sentence a line."""
    return [plain(sentence, SENTENCE_WIDTH) for one in healths for sentence in one.sentences]


def working_line(processes: Sequence[Process], limit_s: float) -> str:
    """What works and what does not, in one line; `limit_s` is how old a heartbeat may be."""
    return plain(in_one_line(processes, limit_s), SENTENCE_WIDTH)
