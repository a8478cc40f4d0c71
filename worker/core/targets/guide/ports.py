"""The node types of the target `guide` as data: their ports, and what of V1 each takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.workflow.roles import roles_of_v1
from worker.core.workflow.v2 import COMMON_PORTS, LLM_OUT, QUERY_IN, Port, Ports

TEXT_JOIN: Final = "text-join"
PORTS: Final[Mapping[str, Ports]] = {
    **COMMON_PORTS,
    "llm": Ports(
        inputs=(
            QUERY_IN,
            Port("context", "string", False, "프롬프트의 {context}에 들어갈 텍스트", "컨텍스트"),
            Port("system_prompt", "string", False, "모델에 주는 지시", "시스템 프롬프트"),
        ),
        outputs=LLM_OUT,
    ),
    TEXT_JOIN: Ports(
        outputs=(Port("text", "string", False, "빈 입력을 뺀 텍스트를 이어 붙인 것", "텍스트"),)
    ),
}
ROLES: Final = roles_of_v1(PORTS["llm"])
