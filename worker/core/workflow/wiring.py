"""What a V1 workflow does, made explicit: which node takes which value from which node, in which order.

It follows from the workflow's structure alone. Each place where V1 does something else than its picture
suggests is a warning here; what is peculiar to a target, the target warns of (`worker.core.targets`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker.core.codes import WarningCode
from worker.core.workflow.order import run_order
from worker.core.workflow.roles import Role
from worker.core.workflow.structure import OwnType, Structure


class Warned(msgspec.Struct, frozen=True, gc=False):
    """A warning about a node, or about the whole.

    Each `%s` of `message` stands for some nodes, those of one of `names`: their ids, each cut at `limit`
    characters.
    """

    code: WarningCode
    node: int | None
    message: str
    names: tuple[tuple[int, ...], ...] = ()
    limit: int = 40

    @property
    def rank(self) -> tuple[int, bool]:
        """Warnings are in the order of V1's nodes, those about the whole first; of a node's, edges last."""
        return (-1 if self.node is None else self.node, self.code == "order_only_edge")


class Wiring:
    """A structure's nodes, each by its place, with what flows between them.

    `context` has, for each node, those that its context is made of, in V1's order; `response` the one
    whose response it takes. Both say what V1 does, edges or not. `searches` give a context and `llms` a
    response, in the `order` of execution; the first of `llms` answers. `sources` has the sources of the
    edges into each node.
    """

    def __init__(self, structure: Structure, roles: Mapping[str, Role]) -> None:
        self.structure = structure
        self.types = [one.name if isinstance(one, OwnType) else one for one in structure.types]
        self.roles = [
            one.type.role if isinstance(one, OwnType) else roles[one] for one in structure.types
        ]
        places = range(len(self.types))
        self.order = run_order(places, structure.edges)
        self.rank = {place: rank for rank, place in enumerate(self.order)}
        self.connected = frozenset(structure.edges)
        self.sources: list[list[int]] = [[] for _ in places]
        for source, target in structure.edges:
            self.sources[target].append(source)
        self.searches = [one for one in self.order if "context" in self.roles[one].gives]
        self.llms = [one for one in self.order if "response" in self.roles[one].gives]
        self.start, self.end = self.types.index("start"), self.types.index("end")
        self.context: list[tuple[int, ...]] = [() for _ in places]
        self.response: list[int | None] = [None for _ in places]
        self.warnings: list[Warned] = []
        self._read()

    def _read(self) -> None:
        for place in self.order:
            takes = self.roles[place].takes
            if "context" in takes:
                self._read_context(place)
            if "response" in takes and place != self.end:
                self._read_response(place)
        self._read_answer()

    def _warn(self, code: WarningCode, node: int, message: str, *names: tuple[int, ...]) -> None:
        self.warnings.append(Warned(code, node, message, names))

    def _read_context(self, place: int) -> None:
        """Find what V1 would put into the context of a node, if anything."""
        uses = self.structure.uses[place]
        context = self.context[place] = tuple(
            source
            for source in (self.searches if uses is None else uses)
            if "context" in self.roles[source].gives and self.rank[source] < self.rank[place]
        )
        hidden = [one for one in dict.fromkeys(context) if (one, place) not in self.connected]
        if hidden:
            message = "V1 gives it what %s found, without an edge"
            self._warn("implicit_context", place, message, tuple(hidden))
        unused = dict.fromkeys(
            source
            for source in self.sources[place]
            if "context" in self.roles[source].gives and source not in context
        )
        if unused:
            message = "use_context_from leaves out %s, an edge or not"
            self._warn("context_not_used", place, message, tuple(unused))

    def _read_response(self, place: int) -> None:
        """Find the response that a node of a custom type takes: the first before it, if any."""
        if not self.llms or self.rank[self.llms[0]] >= self.rank[place]:
            return
        first = self.response[place] = self.llms[0]
        if (first, place) not in self.connected:
            message = "V1 gives it what %s said, the first LLM to run, without an edge"
            self._warn("implicit_response", place, message, (first,))

    def _read_answer(self) -> None:
        end = self.end
        if not self.llms:
            message = "there is no LLM: V1 always answers with its fixed sentence"
            self._warn("no_llm", end, message)
            return
        first = self.response[end] = self.llms[0]
        shown = {one for one in self.sources[end] if "response" in self.roles[one].gives}
        if shown != {first}:
            message = "V1 answers with %s, the first LLM to run"
            self.warnings.append(Warned("end_takes_first_llm", end, message, ((first,),), 60))
