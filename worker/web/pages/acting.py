"""What an operator does from a page: each handler calls the step that the command line calls."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from litestar import post
from litestar.enums import RequestEncodingType
from litestar.params import Body, PathParameter
from litestar.response import Redirect

from worker.app import app
from worker.db.publication.rolling import Which
from worker.errors import UsageError
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps import control
from worker.steps.enqueue import top_up
from worker.steps.publication import control as publication_control
from worker.steps.publication import detached
from worker.steps.publication.begin import Going
from worker.steps.publication.report import publication_of
from worker.steps.report import progress_of
from worker.steps.request import Request
from worker.steps.start import start_run
from worker.steps.tuning import Tuning
from worker.web.given import Current, Who
from worker.web.pages.forms import Accept, Act, Retry, RollBack, Tune, need_typed
from worker.web.pages.rendering import link
from worker.web.pages.shell import see_other

Number = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
_FORM: Final = Body(media_type=RequestEncodingType.URL_ENCODED)
ActForm: TypeAlias = Annotated[Act, _FORM]
AcceptForm: TypeAlias = Annotated[Accept, _FORM]
TuneForm: TypeAlias = Annotated[Tune, _FORM]
RetryForm: TypeAlias = Annotated[Retry, _FORM]
RollBackForm: TypeAlias = Annotated[RollBack, _FORM]


# -- runs ------------------------------------------------------------------------------------------


@post("/runs/{run_id:int}/pause", sync_to_thread=True, include_in_schema=False)
def pause(current: Current, who: Who, run_id: Number, data: ActForm) -> Redirect:
    """Pause a run."""
    control.pause_run(current, run_id, actor=who.name, reason=data.why)
    return _to_run(run_id)


@post("/runs/{run_id:int}/resume", sync_to_thread=True, include_in_schema=False)
def resume(current: Current, who: Who, run_id: Number, data: ActForm) -> Redirect:
    """Let a run continue."""
    control.resume_run(current, CeleryQueue(app), run_id, actor=who.name, reason=data.why)
    return _to_run(run_id)


@post("/runs/{run_id:int}/cancel", sync_to_thread=True, include_in_schema=False)
def cancel(current: Current, who: Who, run_id: Number, data: ActForm) -> Redirect:
    """End a run, once the number of its bots was typed."""
    need_typed(data, progress_of(current.engine, run_id).bots_total)
    control.cancel_run(current, run_id, actor=who.name, reason=data.why)
    return _to_run(run_id)


@post("/runs/{run_id:int}/tune", sync_to_thread=True, include_in_schema=False)
def tune(current: Current, who: Who, run_id: Number, data: TuneForm) -> Redirect:
    """Change the limits of a run."""
    tuning = data.tuning()
    if tuning == Tuning():
        raise UsageError("every limit was left as it is: nothing was changed")
    control.tune_run(current, CeleryQueue(app), run_id, tuning, actor=who.name)
    return _to_run(run_id)


@post("/runs/{run_id:int}/retry", sync_to_thread=True, include_in_schema=False)
def retry(current: Current, who: Who, run_id: Number, data: RetryForm) -> Redirect:
    """Start a run over bots that failed; the same form sent twice starts one."""
    request = Request(retry_of=run_id, code=data.code or None, bot_ids=data.bot_ids)
    run = start_run(
        current,
        CeleryQueue(app),
        request,
        request_id=data.request_id(run_id),
        requested_by=who.name,
    )
    return _to_run(run.run_id)


def _to_run(run_id: int) -> Redirect:
    return see_other(f"/runs/{run_id}")


# -- publications ----------------------------------------------------------------------------------


@post("/publications/{number:int}/hold", sync_to_thread=True, include_in_schema=False)
def hold(current: Current, who: Who, number: Number, data: ActForm) -> Redirect:
    """Hold a publication."""
    publication_control.hold(current, number, actor=who.name, reason=data.why)
    return _to_publication(number)


@post("/publications/{number:int}/go", sync_to_thread=True, include_in_schema=False)
def go(current: Current, who: Who, number: Number, data: ActForm) -> Redirect:
    """Let a publication that is held go on."""
    _enqueue(current, publication_control.go(current, number, actor=who.name, reason=data.why))
    return _to_publication(number)


@post("/publications/{number:int}/accept", sync_to_thread=True, include_in_schema=False)
def accept(current: Current, who: Who, number: Number, data: AcceptForm) -> Redirect:
    """Accept a wave that is watched, was inconclusive or failed: the gate never judges it again."""
    if data.why is None:
        raise UsageError("say why the wave is accepted: nothing was changed")
    _enqueue(
        current,
        publication_control.accept(
            current, number, data.wave_number, actor=who.name, reason=data.why
        ),
    )
    return _to_publication(number)


@post("/publications/{number:int}/stop", sync_to_thread=True, include_in_schema=False)
def stop(current: Current, who: Who, number: Number, data: ActForm) -> Redirect:
    """Stop a publication for good, once the number of its bots was typed."""
    found, _ = publication_of(current.engine, number)
    need_typed(data, found.bot_count)
    publication_control.stop(current, number, actor=who.name, reason=data.why)
    return _to_publication(number)


@post("/publications/{number:int}/rollback", sync_to_thread=True, include_in_schema=False)
def roll_back(current: Current, who: Who, number: Number, data: RollBackForm) -> Redirect:
    """Let workers roll back what the page said, if the number typed is that of the bots under the lock."""
    which = Which(publication_id=number, wave=data.wave_number)
    found = detached.detach(
        current,
        which,
        digest=data.plan or None,
        actor=who.name,
        reason=data.why,
        hold=lambda bots: need_typed(data, bots),
    )
    run_ids = [one.run_id for one in found if one.run_id is not None]
    for run_id in run_ids:
        _top_up(current, run_id)
    return _to_run(run_ids[0]) if run_ids else _to_publication(number)


def _enqueue(current: Runtime, going: Going) -> None:
    if going.run_id is not None:
        _top_up(current, going.run_id)


def _top_up(current: Runtime, run_id: int) -> None:
    window = current.settings.batch_window
    top_up(current.engine, CeleryQueue(app), run_id, window=window)


def _to_publication(number: int) -> Redirect:
    return see_other(link(f"/publications/{number}"))


HANDLERS: Final = (
    *(pause, resume, cancel, tune, retry),
    *(hold, go, accept, stop, roll_back),
)
