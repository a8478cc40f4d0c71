"""Publications and their waves: plan and begin, follow, and move by hand."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from worker.core.counted import counted
from worker.core.publication.gate import GateMode, Outcome
from worker.core.publication.sizes import DEFAULT_WAVES, parse_waves
from worker.core.publication.versions import NextDraft
from worker.core.publication.waves import Wishes
from worker.db.publication.outline import Outline
from worker.db.publication.waves import Options, Publication, Wave
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.steps.publication import control
from worker.steps.publication.ask_alerts import need_alerts
from worker.steps.publication.begin import Going
from worker.steps.publication.plan import Wanted, look
from worker.steps.publication.report import (
    Explained,
    Found,
    explain,
    newest_publications,
    read_publication,
)
from worker.steps.target import read_target
from worker.web.api.values import (
    MOST,
    MOST_WAVES,
    IdempotencyKey,
    Limit,
    PublicationId,
    Reason,
    Text,
    WaveNumber,
)
from worker.web.given import Current, Reading, Who

TAGS = ["publications"]

Before = Annotated[
    int | None,
    QueryParameter(description="Only publications with a lower number.", ge=1, le=MOST),
]
BotIds = tuple[Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*$")], ...]


class Verdict(msgspec.Struct, frozen=True):
    """What the gate said last of a wave."""

    read_at: dt.datetime
    outcome: Outcome
    sentence: str


class WaveView(Wave, frozen=True, kw_only=True):
    """A wave as it stands, how many of its bots are live, and what the gate said last of it."""

    live: int
    verdict: Verdict | None


class PublicationView(Publication, frozen=True, kw_only=True):
    """A publication with its waves; `gate_late_s` is set where the gate should have looked since."""

    gate_late_s: float | None
    waves: list[WaveView]


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """The last verdict of a wave; `agrees`: it follows from the reading that is kept with it."""

    publication_id: int
    wave: int
    state: str
    outcome: Outcome | None
    sentence: str | None
    read_at: dt.datetime | None
    accepted_by: str | None
    accepted_reason: str | None
    agrees: bool


class Publish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to go live: the bots of a run, or those listed; as the options of `flowshift publish`.

    `alerts` names the alert rules that no wave may begin under while one fires. `confirm_bots` is the
    number of bots that go live, as a dry run says it.
    """

    run_id: Annotated[int, Meta(ge=1, le=MOST)] | None = None
    bot_ids: BotIds | None = None
    first: BotIds = ()
    last: BotIds = ()
    never: BotIds = ()
    waves: str = DEFAULT_WAVES
    gate: GateMode | None = None
    next_draft: NextDraft = "empty"
    publish_edited: bool = False
    live_drafts: bool = False
    without_backup: bool = False
    alerts: tuple[Annotated[str, Meta(min_length=1, max_length=40)], ...] = ()
    dry_run: bool = False
    confirm_bots: int | None = None


class PlannedWave(msgspec.Struct, frozen=True):
    """A wave of a plan."""

    label: str
    bots: int


class PublicationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would go live, and what keeps bots out as they stand (`ready`: nothing)."""

    bots: int
    waves: list[PlannedWave]
    codes: dict[str, int]


class Held(msgspec.Struct, frozen=True):
    """Whether a publication changed by an action; false if it was so before."""

    publication_id: int
    changed: bool


class Accept(msgspec.Struct, frozen=True):
    """Which wave, by default the one that is open, and why: that goes on record."""

    reason: Annotated[str, Meta(min_length=1, max_length=2_000, pattern=r"^[^\x00]*$")]
    wave: Annotated[int, Meta(ge=1, le=MOST_WAVES)] | None = None


class Go(msgspec.Struct, frozen=True):
    """Why, and whether no wave of it waits for a backup from now on."""

    reason: Text | None = None
    without_backup: bool = False


@get("/publications", tags=TAGS, sync_to_thread=True)
def publications(reading: Reading, limit: Limit = 20, before: Before = None) -> list[Outline]:
    """List publications, the newest first. The next page is `before` the last one's number."""
    return newest_publications(reading, limit, before=before)


@post("/publications", tags=TAGS, sync_to_thread=True)
def publish(
    data: JSONBody[Publish], current: Current, who: Who, idempotency_key: IdempotencyKey = None
) -> Response[Going | PublicationPlan]:
    """Publish drafts wave by wave, or with `dry_run` only say what would go live.

    `confirm_bots` must be the number of bots that go live.
    """
    need_alerts(current.engine, data.alerts)
    wanted = _wanted(current, data)
    if idempotency_key is not None and not data.dry_run:
        known = control.of_request(current.engine, wanted, idempotency_key, gate=data.gate)
        if known is not None:
            return _begun(known)
    planned = look(current, wanted)
    bots = len(planned.plan.bot_ids)
    if data.dry_run:
        waves = [PlannedWave(wave.label, wave.size) for wave in planned.plan.waves]
        return Response(
            PublicationPlan(bots=bots, waves=waves, codes=planned.codes), status_code=200
        )
    if data.confirm_bots != bots:
        raise UsageError(
            f"{counted(bots, 'bot is', 'bots are')} to go live, wave by wave: nothing was started; "
            f"to start it, say confirm_bots: {bots}"
        )
    request_id = idempotency_key or str(uuid.uuid4())
    going = control.publish(current, wanted, request_id=request_id, actor=who.name, gate=data.gate)
    return _begun(going)


@get("/publications/{publication_id:int}", tags=TAGS, sync_to_thread=True)
def publication(
    publication_id: PublicationId, reading: Reading, current: Current
) -> PublicationView:
    """One publication: its waves, and what the gate said last of each."""
    return _view(read_publication(reading, current.settings, publication_id))


@get("/publications/{publication_id:int}/waves/{wave:int}/gate", tags=TAGS, sync_to_thread=True)
def gate(publication_id: PublicationId, wave: WaveNumber, reading: Reading) -> GateView:
    """What the gate says of a wave, judged again from what is kept."""
    return _gate(explain(reading, publication_id, wave))


@post("/publications/{publication_id:int}/accept", tags=TAGS, sync_to_thread=True, status_code=200)
def accept(
    publication_id: PublicationId, data: JSONBody[Accept], current: Current, who: Who
) -> Going:
    """Accept a wave that the gate did not let pass; it is never judged again."""
    return control.accept(current, publication_id, data.wave, actor=who.name, reason=data.reason)


@post("/publications/{publication_id:int}/go", tags=TAGS, sync_to_thread=True, status_code=200)
def go(
    publication_id: PublicationId, current: Current, who: Who, data: JSONBody[Go | None] = None
) -> Going:
    """Let a publication go on that is held."""
    given = data or Go()
    return control.go(
        current,
        publication_id,
        actor=who.name,
        reason=given.reason,
        without_backup=given.without_backup,
    )


@post("/publications/{publication_id:int}/hold", tags=TAGS, sync_to_thread=True, status_code=200)
def hold(
    publication_id: PublicationId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Held:
    """Hold a publication: no other bot is published."""
    reason = None if data is None else data.reason
    return Held(
        publication_id, control.hold(current, publication_id, actor=who.name, reason=reason)
    )


@post("/publications/{publication_id:int}/stop", tags=TAGS, sync_to_thread=True, status_code=200)
def stop(
    publication_id: PublicationId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Held:
    """Stop a publication for good: what is out stays out."""
    reason = None if data is None else data.reason
    return Held(
        publication_id, control.stop(current, publication_id, actor=who.name, reason=reason)
    )


def _begun(going: Going) -> Response[Going | PublicationPlan]:
    return Response(going, headers={"Location": f"/api/v1/publications/{going.publication_id}"})


def _wanted(current: Runtime, data: Publish) -> Wanted:
    if (data.run_id is None) == (data.bot_ids is None):
        raise UsageError("name what to publish: a run_id, or bot_ids")
    try:
        steps = parse_waves(data.waves)
        wishes = Wishes(data.first, data.last, data.never)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Wanted(
        run_id=data.run_id,
        bot_ids=data.bot_ids,
        steps=steps,
        wishes=wishes,
        options=Options(
            target=read_target(current.engine, None, current.settings.target).target,
            publish_edited=data.publish_edited,
            live_drafts=data.live_drafts,
            next_draft=data.next_draft,
            needs_backup=not data.without_backup,
            alerts=data.alerts,
        ),
    )


def _view(found: Found) -> PublicationView:
    return PublicationView(
        **msgspec.structs.asdict(found.publication),
        gate_late_s=found.unlooked_s,
        waves=[_wave(found, one) for one in found.waves],
    )


def _wave(found: Found, one: Wave) -> WaveView:
    kept = found.verdicts.get(one.number)
    verdict = None if kept is None else Verdict(kept.read_at, kept.outcome, kept.sentence)
    return WaveView(
        **msgspec.structs.asdict(one),
        live=found.live.by_wave.get(one.number, 0),
        verdict=verdict,
    )


def _gate(found: Explained) -> GateView:
    kept, wave = found.kept, found.wave
    return GateView(
        publication_id=found.publication.publication_id,
        wave=wave.number,
        state=wave.state,
        outcome=None if kept is None else kept.outcome,
        sentence=None if kept is None else kept.sentence,
        read_at=None if kept is None else kept.read_at,
        accepted_by=wave.accepted_by,
        accepted_reason=wave.accepted_reason,
        agrees=found.agrees,
    )
