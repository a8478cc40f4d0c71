"""The assigner of the engine `answer`, as far as constants need it."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.core.targets.answer.ports import ASSIGNER, operation_port
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v2 import Port, Ports


class Operation(msgspec.Struct, frozen=True):
    """One thing that an assigner does."""

    write_mode: str
    input_type: str = "variable"
    constant_value: Any = None


class AssignerData(msgspec.Struct, frozen=True):
    """What an assigner does, in order."""

    operations: tuple[Operation, ...] = ()


class Assigner(Node[AssignerData]):
    """Gives values names, one for each operation."""

    type = ASSIGNER
    ports = Ports(outputs=(Port(operation_port(0, "result"), "any"),))
    data_type = AssignerData

    def run(self, inputs: Inputs, data: AssignerData, providers: Providers) -> dict[str, Any]:
        return {
            operation_port(number, "result"): self._result(number, operation, inputs)
            for number, operation in enumerate(data.operations)
        }

    def _result(self, number: int, operation: Operation, inputs: Inputs) -> Any:
        if operation.write_mode != "set":
            raise ValueError(f"operations other than set are not executed here ({number} is one)")
        if inputs.get(target := operation_port(number, "target")) is None:
            raise ValueError(f"its input {target} has no value")
        is_constant = operation.input_type == "constant"
        value = (
            operation.constant_value if is_constant else inputs.get(operation_port(number, "value"))
        )
        if value is None:
            raise ValueError(f"operation {number} has no value")
        return value
