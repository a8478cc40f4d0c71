"""Which targets there are: a line for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.targets.answer import ANSWER
from worker.core.targets.guide import GUIDE
from worker.core.targets.target import Target, by_name

TARGETS: Final[Mapping[str, Target]] = by_name((GUIDE, ANSWER))
DEFAULT: Final = GUIDE
