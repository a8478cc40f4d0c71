"""The texts that V1 itself puts into prompts and answers (design section 2)."""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "\n\n"
"""What stands between the documents of a context."""

NO_LLM_ANSWER: Final = "워크플로우가 완료되었지만 응답을 생성할 수 없습니다."
"""The answer where there is no LLM, and where the first one said nothing."""

TEMPLATE_WITH_CONTEXT: Final = "Context: {context}\n\nQuestion: {question}\n\nAnswer:"
TEMPLATE_WITHOUT_CONTEXT: Final = "Question: {question}\n\nAnswer:"
"""What an empty template means, with and without something found."""
