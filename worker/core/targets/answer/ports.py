"""The node types of the target `answer` and their ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from worker.core.workflow.roles import roles_of_v1
from worker.core.workflow.v2 import COMMON_PORTS, LLM_OUT, Port, Ports

ANSWER_TYPE: Final = "answer"
ASSIGNER: Final = "assigner"
IF_ELSE: Final = "if-else"
TEMPLATE_TRANSFORM: Final = "template-transform"

PORTS: Final[Mapping[str, Ports]] = {
    **COMMON_PORTS,
    "llm": Ports(
        inputs=(
            Port("query", "string", False, "사용자 메시지", "질문"),
            Port("context", "string", False, "검색된 문서의 텍스트", "컨텍스트"),
            Port("system_prompt", "string", False, "모델에 주는 지시", "시스템 프롬프트"),
        ),
        outputs=LLM_OUT,
    ),
    ANSWER_TYPE: Ports(
        inputs=(Port("target", "any", False, "이전 노드와의 연결", "입력"),),
        outputs=(Port("final_output", "string", True, "완성된 텍스트", "출력"),),
    ),
    TEMPLATE_TRANSFORM: Ports(
        inputs=(
            Port("template", "string", False, "템플릿", "템플릿"),
            Port("variables", "object", False, "템플릿의 변수", "변수"),
        ),
        outputs=(
            Port("output", "string", False, "완성된 텍스트", "출력"),
            Port("length", "number", False, "텍스트의 길이", "길이"),
            Port("success", "boolean", False, "성공 여부", "성공"),
            Port("error", "string", False, "오류", "오류"),
        ),
    ),
}
"""Those of each type whose ports do not depend on its data."""

MESSAGE_ONLY: Final = Ports(PORTS["llm"].inputs[:1], PORTS["llm"].outputs)
"""The ports that a draft declares of an LLM: one that is declared and not mapped would be filled."""

ROLES: Final = roles_of_v1(MESSAGE_ONLY)


def operation_port(number: int, what: Literal["target", "value", "result"]) -> str:
    """A port of an assigner's operation, counted from 0.

    `target` says what it is about, `value` gives it its value where that is no constant.
    """
    return f"operation_{number}_{what}"
