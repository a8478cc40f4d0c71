"""One bot: V1 and its draft drawn side by side, parity, versions, executions, and a message to try."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from litestar import Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter

from worker.core.codes import MEANINGS, REMEDIES
from worker.core.drawing import picture as drawing
from worker.core.parity.first_difference import in_short
from worker.core.publication.answering import answers_text
from worker.core.shown import distinct_length, plain
from worker.core.targets.registry import TARGETS
from worker.core.workflow.diff import values_of
from worker.core.workflow.json_values import id_text
from worker.steps.bot_page import read_bot_page, try_on_page
from worker.steps.drift import WHY, next_step
from worker.web.doors.rights import FOR_VIEWERS
from worker.web.given import Current, Reading
from worker.web.pages.rendering import picture
from worker.web.pages.shell import PageShell

LISTED: Final = 100
"""So many nodes are listed in words, and so many differences."""

MESSAGE_LENGTH: Final = 10_000

ALWAYS_MOVED: Final = 1_200
"""A picture that is wider at least, in pixels, does not fit into the frame of most windows."""

BotId = Annotated[str, QueryParameter(name="id", min_length=1, max_length=200)]


@get("/bot", sync_to_thread=True, include_in_schema=False)
def bot(shell: PageShell, current: Current, reading: Reading, bot_id: BotId) -> Response[str]:
    """One bot."""
    page = read_bot_page(reading, current, bot_id)
    found = page.found
    return shell.page(
        "bot.html",
        found=found,
        view=found.view,
        changes=page.changes,
        drawn_version=page.v2.version,
        can_compare=page.v1.graph is not None and page.v2.graph is not None,
        last_failed=next((one for one in found.executions if one.error), None),
        id_length=distinct_length(one.execution_id for one in found.executions),
        sides=(("V1", "v1", page.v1), (f"V2 {plain(page.v2.version)}", "v2", page.v2)),
        draw=drawing.draw,
        as_markup=picture,
        can_draw=drawing.can_draw,
        always_moved=ALWAYS_MOVED,
        id_text=id_text,
        listed=LISTED,
        values_of=values_of,
        says=answers_text(found.standing.answers, uses_v2=found.view.uses_v2),
        why=WHY,
        next_step=next_step,
        serves_drafts=TARGETS[found.target.target].serves_drafts,
        slowest_us=max((one.elapsed_us or 0 for one in found.timings), default=0),
        meanings=MEANINGS,
        remedies=REMEDIES,
        message_length=MESSAGE_LENGTH,
    )


class Message(msgspec.Struct, frozen=True):
    """What a person wants to say to a bot."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    message: Annotated[str, msgspec.Meta(max_length=MESSAGE_LENGTH)]
    csrf_token: str = ""


@post("/bot/try", sync_to_thread=True, include_in_schema=False, status_code=200, opt=FOR_VIEWERS)
def try_message(
    shell: PageShell,
    current: Current,
    reading: Reading,
    data: Annotated[Message, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[str]:
    """Execute the draft and V1 on a message, on echo; nothing is written."""
    tried = try_on_page(reading, current, data.id, data.message)
    nodes = tried.compared.v2.nodes
    return shell.page(
        "try.html",
        tried=tried,
        short=in_short(tried.compared),
        nodes=nodes[:LISTED],
        left_out=max(0, len(nodes) - LISTED),
        slowest_us=max((one.elapsed_us for one in nodes), default=0),
        message_length=MESSAGE_LENGTH,
    )


HANDLERS: Final = (bot, try_message)
