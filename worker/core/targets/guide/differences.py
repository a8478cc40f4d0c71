"""What this engine does to every prompt, which no draft can prevent."""

from __future__ import annotations

from typing import Final

from worker.core.targets.guide.rendering import trimmed
from worker.core.targets.target import KnownDifference

TRIMMED: Final = KnownDifference(
    "prompt_trimmed",
    trimmed,
    "V2 strips a prompt and squeezes its blank lines; V1 sends it as it is",
)
REMOVED: Final = KnownDifference(
    "placeholder_removed",
    lambda prompt: prompt.replace("{system_prompt}", ""),
    "V2 removes {system_prompt} from what messages and documents bring; V1 leaves it",
)
