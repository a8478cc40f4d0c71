"""V2: ports, and the shape of a draft (design section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

PortType = Literal["string", "number", "boolean", "array", "object", "file", "any"]
RESERVED_IDS: Final = frozenset(
    {"env", "conv", "conversation", "environment", "sys", "system", "self"}
)


class Port(msgspec.Struct, frozen=True, gc=False):
    """An input or output of a node.

    An input that gets no value takes `default`, if there is one; nothing is written where there
    is none, and null is none.
    """

    name: str
    type: PortType = "string"
    required: bool = False
    description: str = ""
    display_name: str = ""
    default: Any = msgspec.UNSET

    @property
    def given_default(self) -> Any:
        """The default, None if there is none."""
        return None if self.default is msgspec.UNSET else self.default


class Ports(msgspec.Struct, frozen=True, gc=False):
    """The inputs and outputs of a node, each in order."""

    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


QUERY_IN: Final = Port("query", "string", True, "사용자 메시지", "질문")
"""The input by which a node takes the user's message."""


LLM_OUT: Final = (
    Port("response", "string", True, "모델의 응답", "응답"),
    Port("tokens", "number", False, "사용한 토큰 수", "토큰"),
    Port("model", "string", False, "사용한 모델", "모델"),
)
"""What an LLM gives."""

COMMON_PORTS: Final[Mapping[str, Ports]] = {
    "start": Ports(
        outputs=(
            Port("query", "string", True, "사용자가 보낸 메시지", "질문"),
            Port("session_id", "string", False, "대화 세션의 식별자", "세션 ID"),
        )
    ),
    "knowledge-retrieval": Ports(
        inputs=(QUERY_IN,),
        outputs=(
            Port("context", "string", True, "검색된 문서의 내용을 이어 붙인 텍스트", "컨텍스트"),
            Port("documents", "array", False, "검색된 문서 목록", "문서"),
            Port("doc_count", "number", False, "검색된 문서의 수", "문서 수"),
        ),
    ),
    "end": Ports(
        inputs=(Port("response", "string", True, "사용자에게 보낼 응답", "응답"),),
        outputs=(Port("final_output", "object", True, "워크플로우의 결과", "결과"),),
    ),
}
"""The ports of the node types that every target has alike."""


class PortMapping(msgspec.Struct, frozen=True, gc=False):
    """Where an input port takes its value from: `variable` is `<node id>.<output port>`."""

    variable: str
    value_type: str


class DrawnNode(msgspec.Struct, frozen=True, gc=False):
    """A node as the graph has it."""

    id: str
    type: str
    ports: Ports
    data: msgspec.Raw = msgspec.Raw(b"{}")
    variable_mappings: dict[str, PortMapping] = {}


class DrawnEdge(msgspec.Struct, frozen=True, gc=False):
    """An edge as the graph has it."""

    source: str
    target: str
    source_port: str
    target_port: str = ""


class DrawnGraph(msgspec.Struct, frozen=True):
    """A graph as far as an engine reads it."""

    nodes: Sequence[DrawnNode]
    edges: Sequence[DrawnEdge]


class GraphNode(DrawnNode, frozen=True, gc=False, kw_only=True):
    """A node that has all that a draft's must have."""

    variable_mappings: dict[str, PortMapping]


class GraphEdge(DrawnEdge, frozen=True, gc=False, kw_only=True):
    """An edge that has all that a draft's must have."""

    target_port: str
    data_type: str


class Graph(DrawnGraph, frozen=True):
    """A draft's graph, as far as the checklist reads it."""

    nodes: Sequence[GraphNode]
    edges: Sequence[GraphEdge]


class _NodesOnly(msgspec.Struct, frozen=True):
    nodes: list[msgspec.Raw] = []


_nodes_only = msgspec.json.Decoder(_NodesOnly)


def split_selector(variable: str) -> tuple[str, str]:
    """The node id (or reserved prefix) and the port of a selector: it splits at the first dot.

    >>> split_selector("llm-1.response"), split_selector("sys.user.name")
    (('llm-1', 'response'), ('sys', 'user.name'))
    """
    node_id, _, port = variable.partition(".")
    return node_id, port


def is_empty(graph: bytes) -> bool:
    """Whether a draft holds nothing: no node, which is what publication leaves.

    >>> is_empty(b'{"nodes": []}'), is_empty(b'{"nodes": [{"id": "start"}]}'), is_empty(b"[]")
    (True, False, False)
    """
    try:
        return not _nodes_only.decode(graph).nodes
    except (msgspec.DecodeError, RecursionError):
        return False
