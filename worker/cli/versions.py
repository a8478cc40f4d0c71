"""The commands over the versions of one bot: versions, draft, archive, restore."""

from __future__ import annotations

from typing import BinaryIO

import click
import msgspec

from worker.cli.arguments import TEXT
from worker.cli.files import text_of
from worker.cli.options import (
    bot_argument,
    json_option,
    reason_option,
    together,
)
from worker.cli.printing import console, print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.versions import print_versions, print_written, versions_fields
from worker.core.targets.detect import CHOICES
from worker.core.workflow.draft_file import MAX_FILE_BYTES
from worker.errors import UsageError
from worker.steps.versions.archive import archive_version
from worker.steps.versions.draft import read_draft, write_draft
from worker.steps.versions.listing import list_versions
from worker.steps.versions.restore import restore_version

_version_argument = click.argument("version", metavar="VERSION", type=TEXT)
_live_drafts_option = click.option(
    "--live-drafts",
    is_flag=True,
    help="Write the draft also where the platform may serve it to users at once.",
)


@click.command()
@bot_argument
@json_option
def versions(*, bot_id: str, as_json: bool) -> int:
    """List the versions of one bot: which is live, and whose each is.

    Whose: `flowshift` where a run wrote the graph as it stands, `person` otherwise. Times are in UTC.

    \b
    Examples:
      flowshift versions bot_000005
      flowshift versions bot_000005 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        listed = list_versions(current.engine, bot_id, setting=current.settings.target)
    if as_json:
        print_json(versions_fields(listed))
    else:
        print_versions(console(), listed)
    return 0


_write_options = together(
    click.option(
        "--from",
        "file",
        type=click.File("rb"),
        metavar="FILE",
        show_default="print the draft",
        help="Write the graph in this file into the draft (- is standard input).",
    ),
    click.option(
        "--state",
        type=TEXT,
        metavar="STATE",
        show_default="what FILE says",
        help="With --from: the state that the draft must still have; none if it must not exist.",
    ),
    click.option(
        "--target",
        type=click.Choice(CHOICES),
        show_default="FLOWSHIFT_TARGET",
        help="With --from: the V2 engine whose checklist holds; `auto` looks at the database.",
    ),
    _live_drafts_option,
    reason_option,
    json_option,
)


@click.command()
@bot_argument
@_write_options
def draft(
    *,
    bot_id: str,
    file: BinaryIO | None,
    state: str | None,
    target: str | None,
    live_drafts: bool,
    reason: str | None,
    as_json: bool,
) -> int:
    """Print the draft of one bot, or write a corrected one with --from.

    What is printed is the graph as JSON. Its key `flowshift_draft` says the bot and the draft's
    state. With --from the key is taken off, the graph is held to the checklist of the platform's
    target, and it is written only if the draft still has that state. It then counts as a person's
    edit: runs keep it. Execute it with `flowshift test BOT`.

    The exit code is 1 if the checklist found something wrong, 2 if the draft changed since it was
    read or may be live. In both cases nothing is written.

    \b
    Examples:
      flowshift draft bot_000005 > draft.json
      flowshift draft bot_000005 --from draft.json --reason "shorter prompt"
    """
    configure_logging()
    if file is None:
        if state is not None or live_drafts or reason is not None:
            raise UsageError("--state, --live-drafts and --reason are for --from")
        with opened(needs_redis=False) as current:
            print_json(msgspec.Raw(read_draft(current.engine, bot_id)))
        return 0
    text = _text(file)
    with opened(needs_redis=False) as current:
        written = write_draft(
            current,
            bot_id,
            text,
            actor=person(),
            reason=reason,
            asked=target,
            state=state,
            live_drafts=live_drafts,
        )
    if as_json:
        print_json(written)
    else:
        print_written(written)
    return 1 if written.issues else 0


def _text(file: BinaryIO) -> bytes:
    """What a file holds, as UTF-8; one byte more than may be there says that it is too large."""
    raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        return raw
    return text_of(raw, str(getattr(file, "name", "standard input"))).encode()


@click.command()
@bot_argument
@_version_argument
@reason_option
@json_option
def archive(*, bot_id: str, version: str, reason: str | None, as_json: bool) -> int:
    """Archive VERSION of a bot: never the live one, the draft, or its only published version.

    This is no way back: `flowshift rollback` lets V1 answer again, and `flowshift restore` makes a version
    the draft again. API keys that name an archived version keep it. If a publication counts the version as
    live though a later one is, it is noted there as superseded. Run it as flowshift_publisher.

    \b
    Examples:
      flowshift versions bot_000005
      flowshift archive bot_000005 v1.0 --reason "two were published"
      flowshift archive bot_000005 v1.0 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        archived = archive_version(current.engine, bot_id, version, actor=person(), reason=reason)
    if as_json:
        print_json(archived)
    else:
        say(f"{version} of {bot_id} is {'' if archived.changed else 'already '}archived")
    return 0


@click.command()
@bot_argument
@_version_argument
@_live_drafts_option
@reason_option
@json_option
def restore(
    *, bot_id: str, version: str, live_drafts: bool, reason: str | None, as_json: bool
) -> int:
    """Copy VERSION of a bot, its graph and variables, into the draft.

    VERSION stays as it is, and so does what is live. A draft that a person made is kept first, as an
    archived version with the next free number. A draft that the platform may serve is not replaced
    without --live-drafts. If the variables differ, run it as flowshift_publisher.

    \b
    Examples:
      flowshift restore bot_000005 v1.0
      flowshift restore bot_000005 v1.0 --reason "the edit was wrong" --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        restored = restore_version(
            current.engine,
            bot_id,
            version,
            actor=person(),
            reason=reason,
            live_drafts=live_drafts,
        )
    if as_json:
        print_json(restored)
        return 0
    if restored.kept is not None:
        say(f"the draft that {bot_id} had is kept as {restored.kept} (archived)")
    said = "is now the draft" if restored.changed else "is what the draft holds already"
    say(f"{version} of {bot_id} {said}")
    if restored.note is not None:
        say(restored.note)
    return 0
