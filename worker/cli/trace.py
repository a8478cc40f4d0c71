"""The command that executes workflows without any server: trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final, Literal

import click
import msgspec
from msgspec import Raw

from worker import nodes, settings
from worker.cli.files import lines_of
from worker.cli.jsonl import on_one_line, read_line, take_workflow
from worker.cli.options import serverless_target_option, strict_option
from worker.cli.printing import json_lines
from worker.core.codes import WarningCode, parse_differences
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.engine.registry import Registry
from worker.core.parity.compare import Parity
from worker.core.parity.known import judge
from worker.core.targets.convert import convert_text
from worker.core.targets.detect import AUTO, without_database, written_for
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.calls import Call, Trace
from worker.core.workflow.config import Defaults
from worker.core.workflow.json_values import text_of
from worker.core.workflow.text import issues_of_text
from worker.errors import BotError
from worker.providers.echo import Echo

EngineName = Literal["v1", "v2"]
ENGINES: Final[dict[str, tuple[EngineName, ...]]] = {
    "v1": ("v1",),
    "v2": ("v2",),
    "both": ("v1", "v2"),
}

# What was executed, and what a line of output says itself.
_NOT_KEPT: Final = frozenset(
    {"workflow", "column_text", "graph", "v1", "v2", "parity", "difference", "known"}
)

_encode = msgspec.json.Encoder().encode
_providers: Final = Echo()


class Shown(msgspec.Struct, frozen=True):
    """What a line of output says of one execution."""

    answer: str | None
    calls: tuple[Call, ...]
    error: str | None
    elapsed_us: int


class Line(msgspec.Struct, frozen=True):
    """What one line of input wants executed, on which message."""

    column: bytes | None
    graph: bytes | None
    message: str


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="both",
    show_default=True,
    help="The engine that runs the workflow; `both` also compares them.",
)
@serverless_target_option
@strict_option
def trace(
    *, file: BinaryIO, engine: str, target: str | None, strict: tuple[WarningCode, ...] | None
) -> int:
    """Execute workflows without any server: JSON lines in, JSON lines out.

    Each line of FILE, or of standard input, is an object with `message` and one of `workflow` (the
    workflow), `column_text` (the text of the column) and `graph` (a V2 graph). Other keys are
    copied, blank lines are skipped. V1 executes the workflow; V2 executes the graph, or else the
    workflow's conversion. No model is asked and nothing is searched: an echo answers both.

    For each line one line is written, in the same order: the other keys; `v1` and `v2`, one for each
    engine that ran, with `answer`, `calls`, `error` and `elapsed_us`; `parity`, whether both made
    the same calls and gave the same answer, null if there is nothing to compare; `difference`, the
    first difference; and `known`, if they differ only by what V2 does to every prompt.

    The exit code is 1 if a line failed or differs, otherwise 0.

    \b
    Examples:
      flowshift trace trials.jsonl > traces.jsonl
      echo '{"message": "hi", "workflow": …}' | flowshift trace --engine v1
    """
    values = settings.load()
    wanted = without_database(target, values.target)
    defaults = nodes.defaults(values, nodes.installed(wanted))
    is_auto = (target or values.target) == AUTO
    fails = parse_differences(values.strict) if strict is None else strict
    tracer = Tracer(defaults, ENGINES[engine], None if is_auto else wanted, frozenset(fails))
    out = json_lines()
    good = True
    for line in lines_of(file):
        if not line.strip():
            continue
        fields, succeeded = tracer.line(line)
        good &= succeeded
        out.write(_encode(fields) + b"\n")
        out.flush()
    return 0 if good else 1


class Tracer:
    """Executes line after line with the chosen engines."""

    def __init__(
        self,
        defaults: Defaults,
        engines: tuple[EngineName, ...],
        target: Target | None,
        strict: frozenset[str],
    ) -> None:
        self._defaults = defaults
        self._engines = engines
        self._target = target
        self._strict = strict
        self._registries: dict[str, Registry] = {}

    def _target_of(self, line: Line) -> Target:
        """The target that was asked for, else the one that a graph was written for, else the default."""
        if self._target is not None or line.graph is None:
            return self._target or DEFAULT
        return written_for(line.graph)

    def _registry(self, target: Target) -> Registry:
        if target.name not in self._registries:
            self._registries[target.name] = nodes.installed(target)
        return self._registries[target.name]

    def line(self, text: bytes) -> tuple[dict[str, Raw], bool]:
        """Execute one line of input: what to write, and whether nothing failed or differs."""
        kept: dict[str, Raw] = {}
        try:
            keys = read_line(text)
            kept = {
                key: on_one_line(bytes(value))
                for key, value in keys.items()
                if key not in _NOT_KEPT
            }
            line = _read(keys)
        except BotError as error:
            return _fields(kept, dict.fromkeys(self._engines, _failed(error)), Parity(None))
        run = {"v1": self._v1, "v2": self._v2}
        traces = {name: _attempt(run[name], line) for name in self._engines_for(line)}
        return _fields(kept, traces, self._compare(line, traces))

    def _engines_for(self, line: Line) -> tuple[EngineName, ...]:
        """The chosen engines; for a graph alone, where both were chosen, V2 by itself."""
        alone = line.column is None and len(self._engines) > 1
        return ("v2",) if alone else self._engines

    def _v1(
        self,
        line: Line,
        shown: Callable[[str], str] | None = None,
        asked: Callable[[str], str] | None = None,
    ) -> Trace:
        if line.column is None:
            raise BotError("not_a_workflow", "V1 cannot run a graph: the line has no workflow")
        workflow = v1.decode(_filled(line.column), self._defaults)
        program = v1_engine.prepare(workflow)
        return v1_engine.execute(
            program, line.message, _providers, clock=time.perf_counter, shown=shown, asked=asked
        )

    def _v2(self, line: Line) -> Trace:
        graph, target = line.graph, self._target_of(line)
        registry = self._registry(target)
        if graph is None:
            graph = convert_text(_filled(line.column or b""), self._defaults, target).graph
        elif issues := issues_of_text(graph) or target.check(graph, registry):
            where = f"{issues[0].path}: " if issues[0].path else ""
            raise BotError("execution_failed", f"no V2 graph: {where}{issues[0].message}")
        program = target.decode(graph, registry)
        return v2_engine.execute(program, line.message, _providers, clock=time.perf_counter)

    def _compare(self, line: Line, traces: dict[EngineName, Trace]) -> Parity:
        """Compare both as a trial does: known differences of the target count as the same."""
        if len(traces) < 2:
            return Parity(None)
        again = partial(self._v1, line)
        known = self._target_of(line).differences
        differences = [one for one in known if one.code not in self._strict]
        return judge(traces["v1"], traces["v2"], differences, again)


def _read(keys: dict[str, Raw]) -> Line:
    graph = keys.pop("graph", None)
    column = take_workflow(keys)
    if column is None and graph is None:
        raise BotError("not_a_workflow", "the line has no workflow, column_text or graph")
    message = text_of(keys.get("message"))
    if message is None:
        raise BotError("execution_failed", "the line has no message (a text)")
    return Line(column, None if graph is None else bytes(graph), message)


def _filled(column: bytes) -> bytes:
    """The column's text.

    Raises:
        BotError: there is no workflow in it.
    """
    if not column or v1.is_json_null(column):
        raise BotError("no_workflow", "the column is empty")
    return column


def _attempt(run: Callable[[Line], Trace], line: Line) -> Trace:
    try:
        return run(line)
    except BotError as error:
        return _failed(error)


def _failed(error: BotError) -> Trace:
    return Trace(None, (), f"{error.code}: {error}")


def _fields(
    kept: dict[str, Raw], traces: dict[EngineName, Trace], compared: Parity
) -> tuple[dict[str, Raw], bool]:
    fields = dict(kept)
    for name, one in traces.items():
        shown = Shown(one.answer, one.calls, one.error, one.elapsed_us)
        fields[name] = Raw(_encode(shown))
    fields["parity"] = Raw(_encode(compared.same))
    if compared.known:
        fields["known"] = Raw(_encode([one.code for one in compared.known]))
    if compared.same is False or compared.known:
        fields["difference"] = Raw(_encode(compared.difference))
    good = compared.same is not False and all(one.error is None for one in traces.values())
    return fields, good
