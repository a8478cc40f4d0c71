"""How this engine makes a prompt, how a template of V1 survives that, and what no draft can prevent."""

from __future__ import annotations

import re
from typing import Final

from worker.core.targets.target import KnownDifference

# Placeholders that this engine replaces and V1 leaves alone, and what comes out as them here: the
# engine replaces `{system_prompt}` last, and by nothing if no system prompt is mapped.
CARRIED: Final = {
    "{query}": "{{system_prompt}query}",
    "{system_prompt}": "{sys{system_prompt}tem_prompt}",
}
_PLACEHOLDER: Final = re.compile("|".join(map(re.escape, CARRIED)))
_BLANK_LINES: Final = re.compile(r"\n{3,}")


def render(template: str, *, query: str, context: str, system_prompt: str) -> str:
    """The prompt of this engine: four replacements, each in what the last gave, then trimmed.

    >>> render("{query}: {context}", query="{context}?", context="{query}", system_prompt="")
    '{query}?: {query}'
    """
    prompt = template.replace("{query}", query).replace("{question}", query)
    prompt = prompt.replace("{context}", context).replace("{system_prompt}", system_prompt)
    return trimmed(prompt)


def trimmed(prompt: str) -> str:
    """What this engine makes of every prompt: blank lines squeezed, outer blanks stripped.

    >>> trimmed(" a\\n\\n\\nb ")
    'a\\n\\nb'
    """
    return (_BLANK_LINES.sub("\n\n", prompt) if "\n\n\n" in prompt else prompt).strip()


def placeholders(template: str) -> tuple[str, ...]:
    """Those of `CARRIED` that a template of V1 holds, in the order in which it does.

    >>> placeholders("{system_prompt} {query} {system_prompt}"), placeholders("{question}")
    (('{system_prompt}', '{query}'), ())
    """
    if not any(one in template for one in CARRIED):
        return ()
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(template)))


def carried(template: str) -> str:
    """A template of V1 that this engine renders as V1 does, where no system prompt is mapped.

    >>> carried("{query} {question}")
    '{{system_prompt}query} {question}'
    """
    return _PLACEHOLDER.sub(lambda found: CARRIED[found[0]], template)


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
