"""Settings: how the gate counts executions after a wave, and by what it judges."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from worker.core.publication.gate import GateMode
from worker.core.publication.ignored import like_patterns
from worker.settings.field import text
from worker.settings.platform import Platform


class Gate(Platform, frozen=True, kw_only=True):
    """How the gate counts executions after a wave, and by what it judges."""

    gate: Annotated[
        GateMode,
        Meta(
            description="What the gate does where `--gate` is not given, see "
            "[Publish](../how-to/publish.md#the-gate). Counts where the publication is planned."
        ),
    ] = "pause"
    gate_s: Annotated[
        int, Meta(ge=1, le=300, description="Seconds between two looks of the gate.")
    ] = 30
    gate_ignore: Annotated[
        str,
        text(
            "Error messages that make an execution neither success nor failure: patterns with `|` "
            "between, where `*` stands for any text, held against the whole message. `none`: no message.",
            expected="patterns with | between, such as Cancelled by client*|*quota*, or none",
            check=like_patterns,
        ),
    ] = "Cancelled by client*"
    gate_running_s: Annotated[
        int,
        Meta(
            ge=10,
            le=3_600,
            description="Seconds after which an execution has failed, whatever comes of it.",
        ),
    ] = 300
    gate_slow_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=3_600_000,
            description="Milliseconds over which an execution is slow, where it is not known how long "
            "V1 takes for that bot.",
        ),
    ] = 30_000
    gate_costly: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000_000,
            description="Tokens over which an execution is costly, where it is not known how many V1 "
            "takes for that bot.",
        ),
    ] = 20_000
    gate_min_soak_s: Annotated[
        int,
        Meta(ge=0, le=604_800, description="Seconds that a wave is watched at least."),
    ] = 30 * 60
    gate_max_soak_s: Annotated[
        int,
        Meta(
            ge=60,
            le=2_592_000,
            description="Seconds after which a wave is inconclusive that has neither passed nor failed; "
            "at least FLOWSHIFT_GATE_MIN_SOAK_S.",
        ),
    ] = 24 * 3_600
    gate_confirm_s: Annotated[
        int,
        Meta(
            ge=0,
            le=3_600,
            description="Seconds for which a wave that alarmed is held at most until it is known whether "
            "it is the wave or an outage, see [The gate](../explanation/gate.md#an-alarm-or-an-outage). "
            "0: an alarm decides at once.",
        ),
    ] = 300
    gate_p1: Annotated[
        float,
        Meta(
            ge=0.01,
            le=0.5,
            description="The share of failed executions that a wave has to refute in order to pass, "
            "such as 0.05 for 5 %.",
        ),
    ] = 0.05
    gate_baseline_h: Annotated[
        int,
        Meta(
            ge=0,
            le=168,
            description="Hours before a wave in which V1's own executions are looked for, to know what "
            "is normal. 0: none.",
        ),
    ] = 168
