"""Node types: the base class of each, and that of the types which V1 knows too.

Packages import these from `worker.nodes`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar, cast

import msgspec

from worker.core.codes import quote
from worker.core.workflow.calls import Providers
from worker.core.workflow.roles import Role, Value
from worker.core.workflow.v2 import Ports

DataT = TypeVar("DataT")
Inputs = Mapping[str, Any]


class Node(ABC, Generic[DataT]):
    """A node type. One instance serves every node of its type, so it keeps no state.

    A type of your own sets `type` and `ports`, says in `run` what it does, and is registered by
    the entry point group `flowshift.nodes`:

        class Shout(Node[dict[str, Any]]):
            type = "shout"
            ports = Ports(inputs=(Port("text", required=True),), outputs=(Port("text"),))

            def run(self, inputs, data, providers):
                return {"text": inputs["text"].upper() + data.get("ending", "!")}

    `data_type` is what a node's `data` is decoded to, once for a graph: a `msgspec.Struct` checks
    it, a plain `dict` (the default) takes everything. A type with `branches` chooses: only the
    edges whose source port is among its outputs are followed.
    """

    type: ClassVar[str]
    ports: ClassVar[Ports]
    data_type: ClassVar[Any] = dict[str, Any]
    branches: ClassVar[bool] = False

    @abstractmethod
    def run(self, inputs: Inputs, data: DataT, providers: Providers) -> dict[str, Any]:
        """Turn inputs into outputs, both by port name.

        `inputs` holds the ports that have a value, in port order; the required ones always. What is
        in it belongs to others too: change nothing. Whatever this raises fails the execution, with
        this node named. Ask `providers` for searches and answers, so that they are recorded. Nodes
        of one execution may run in several threads.
        """

    def variables(self, data: DataT) -> tuple[str, ...]:  # noqa: ARG002
        """Selectors (`<node id>.<output port>`) that a node's data names beside its mappings.

        `run` finds the values of those that have one in `inputs`, by `variable_input(selector)`.
        """
        return ()

    def follows(self, outputs: Mapping[str, Any], port: str) -> bool:
        """Whether a type with `branches` that gave these outputs chose the edges that leave by `port`."""
        return port in outputs

    def read(self, data: bytes | msgspec.Raw) -> DataT:
        """A node's `data` (JSON) as `run` gets it.

        Raises:
            msgspec.DecodeError: it is not what `data_type` wants.
        """
        return _decoder(self.data_type).decode(data)  # type: ignore[no-any-return]


class CustomNode(Node[DataT]):
    """A node type that V1 has too: a platform's own, in a workflow as in a draft.

    V1 has no ports, so the class names those that represent what V1 hands around. Inputs:
    `takes_message` (what the user said), `takes_context` (what every search before this node found,
    joined by blank lines), `takes_response` (what the first LLM to run before it said). Outputs:
    `gives_context` joins what the searches found, for every LLM that runs later, and with
    `gives_response` the node counts as an LLM: the first one answers.

        class Glossary(CustomNode[dict[str, Any]]):
            type = "glossary"
            ports = Ports(
                inputs=(Port("question", required=True),), outputs=(Port("text", required=True),)
            )
            takes_message = "question"
            gives_context = "text"

            def run(self, inputs, data, providers):
                return {"text": data["terms"].get(inputs["question"], "")}

    Both engines call `run`, with the declared inputs alone. An input that V1 has no value for takes
    its port's default or is left out; so only the one that takes the message can be required. What
    is given is a required text; an empty context is none.
    """

    takes_message: ClassVar[str | None] = None
    takes_context: ClassVar[str | None] = None
    takes_response: ClassVar[str | None] = None
    gives_context: ClassVar[str | None] = None
    gives_response: ClassVar[str | None] = None

    @property
    def role(self) -> Role:
        """The same, as the converter reads it of every type."""
        return Role(
            self.ports,
            _named(
                message=self.takes_message,
                context=self.takes_context,
                response=self.takes_response,
            ),
            _named(context=self.gives_context, response=self.gives_response),
        )


def variable_input(selector: str) -> str:
    """The name under which a node finds what its data names; no port is called so.

    >>> variable_input("start.query")
    '{{start.query}}'
    """
    return "{{" + selector + "}}"


def _named(**ports: str | None) -> dict[Value, str]:
    return {cast("Value", value): port for value, port in ports.items() if port is not None}


@cache
def _decoder(data_type: Any) -> msgspec.json.Decoder[Any]:
    # A number beyond a float, in a key that no node may read, is no reason to refuse: Python's own
    # reading of JSON makes it infinite.
    return msgspec.json.Decoder(data_type, float_hook=float)


def checked_outputs(node: Node[Any], outputs: dict[str, Any]) -> None:
    """Hold what a node gave against what its type declares.

    Raises:
        TypeError: it is no dict, lacks a required output, a text is no text, or it is no JSON, which
            an execution could not be recorded in.
    """
    if not isinstance(outputs, dict):
        raise TypeError(f"its outputs are no dict but {type(outputs).__name__}")
    for port in node.ports.outputs:
        value = outputs.get(port.name)
        if value is None:
            if port.required:
                raise TypeError(f"it gives no {quote(port.name)}, which its type requires")
        elif port.type == "string" and not isinstance(value, str):
            raise TypeError(f"its {quote(port.name)} is no text but {type(value).__name__}")
    try:
        msgspec.json.encode(outputs)
    except UnicodeEncodeError:
        pass  # half of a surrogate pair: it is escaped where it is recorded
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"its outputs are no JSON: {error}") from error


def faults(node: Node[Any]) -> list[str]:
    """What is wrong with how a type is declared; an empty list where nothing is."""
    for name, wanted in (("type", str), ("ports", Ports)):
        if not isinstance(getattr(node, name, None), wanted):
            return [f"its class sets no `{name}`"]
    found = []
    for ports in (node.ports.inputs, node.ports.outputs):
        names = Counter(port.name for port in ports)
        found += [f"two ports are called {quote(name)}" for name, n in names.items() if n > 1]
    return found + (_custom_faults(node) if isinstance(node, CustomNode) else [])


def _custom_faults(node: CustomNode[Any]) -> list[str]:
    role = node.role
    inputs = {port.name: port for port in node.ports.inputs}
    outputs = {port.name: port for port in node.ports.outputs}
    found = []
    if not outputs:
        found.append("it has no output, which every edge that leaves it needs")
    for value, name in role.takes.items():
        if name not in inputs or inputs[name].type not in ("string", "any"):
            found.append(f"it takes the {value} by {quote(name)}, which is no text input of it")
    for value, name in role.gives.items():
        if name not in outputs or outputs[name].type != "string" or not outputs[name].required:
            found.append(f"it gives the {value} by {quote(name)}, which is no required text output")
    for names in (Counter(role.takes.values()), Counter(role.gives.values())):
        found += [f"{quote(name)} is used for two things" for name, n in names.items() if n > 1]
    found += [
        f"its input {quote(name)} is required, and V1 may have no value for it"
        for name, port in inputs.items()
        if port.required and name != node.takes_message
    ]
    return found
