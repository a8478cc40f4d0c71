"""What V1 hands from node to node implicitly: the message, the context, the response.

V1 has no ports. A target says, for each of V1's types, which port of V2 represents what (design
section 2); a custom type says it itself (`node_types.CustomNode`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import msgspec

from worker.core.workflow.v2 import COMMON_PORTS, Ports

Value = Literal["message", "context", "response"]
"""`message`: what the user said. `context`: what all searches before the node found, joined by blank
lines. `response`: what the first LLM to run said."""


class Role(msgspec.Struct, frozen=True, dict=True):
    """A type's ports, and by which of them it takes V1's values and gives them."""

    ports: Ports
    takes: Mapping[Value, str] = {}
    gives: Mapping[Value, str] = {}

    @cached_property
    def ports_json(self) -> msgspec.Raw:
        """The ports as drafts have them, written once."""
        return msgspec.Raw(msgspec.json.encode(self.ports))


def roles_of_v1(llm: Ports) -> dict[str, Role]:
    """The roles of V1's types where an LLM has these ports, and the others those of every target."""
    search = COMMON_PORTS["knowledge-retrieval"]
    return {
        "start": Role(COMMON_PORTS["start"], gives={"message": "query"}),
        "knowledge-retrieval": Role(search, {"message": "query"}, {"context": "context"}),
        "llm": Role(llm, {"message": "query", "context": "context"}, {"response": "response"}),
        "end": Role(COMMON_PORTS["end"], takes={"response": "response"}),
    }
