"""What each kind of run says about a bot, and so which of a bot's outcomes counts."""

from __future__ import annotations

from typing import Final

from worker.core.policy.states import RunKind

WRITES_DRAFTS: Final[tuple[RunKind, ...]] = ("convert",)
"""Kinds whose outcome replaces everything said of a bot before; two at once must not share a bot."""

TRIES_DRAFTS: Final[tuple[RunKind, ...]] = ("validate",)
"""Kinds that say whether the draft that is there does what V1 does. Every other kind says neither."""
