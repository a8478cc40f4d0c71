"""The channels of notifications: the TOML file that `FLOWSHIFT_NOTIFY` names.

    [[channel]]
    name = "ops"
    kind = "webhook"
    url_file = "/run/secrets/ops_url"           # a file with the address, never the address
    secret_file = "/run/secrets/ops_secret"     # a file with whsec_…

It holds no secret: an address of Slack or Apprise is one, so that all of them are in files of their own.
These are read for each message: a secret is replaced without a restart. docs/how-to/notifications.md
explains every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from worker.core.encoding import NotTextError, decode
from worker.core.notify.event import KINDS, Level, is_wanted
from worker.core.notify.webhook import read_secret
from worker.errors import ConfigError
from worker.settings.toml_file import did_you_mean, read_tables, refused

SETTING: Final = "FLOWSHIFT_NOTIFY"

MOST_BYTES: Final = 16 * 1024
"""Of a file with a secret; a larger one is another file by mistake."""

_File = Annotated[str, Meta(min_length=1, extra={"expected": "the path of a file"})]


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel. `level` is the least that it gets, `events` the only kinds (empty: all).

    Paths are absolute, or start from the directory of the file that names them.
    """

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
            extra={
                "expected": "a name of at most 40 characters: a-z, 0-9, _ and -, a letter or digit first"
            },
        ),
    ]
    kind: Literal["webhook", "slack", "apprise"]
    url_file: _File
    secret_file: _File | None = None
    level: Level = "info"
    events: Annotated[
        tuple[str, ...], Meta(extra={"expected": "a list of kinds of events such as run.paused"})
    ] = ()

    def wants(self, kind: str, level: Level) -> bool:
        """Whether an event is for this channel; a test is for every one."""
        if kind == "test":
            return True
        return is_wanted(level, self.level) and (not self.events or kind in self.events)


class Secrets(msgspec.Struct, frozen=True):
    """What a channel's files hold now. It has no representation: nothing shows it by mistake."""

    url: str
    keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        return "Secrets(…)"


class Channels(msgspec.Struct, frozen=True):
    """The channels of an installation, by name."""

    path: Path
    all: tuple[ChannelConfig, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order of the file."""
        return tuple(one.name for one in self.all)

    def named(self, name: str) -> ChannelConfig | None:
        """The channel of a name; None if there is none."""
        return next((one for one in self.all if one.name == name), None)


def load(path: Path) -> Channels:
    """Read and check the file, and every file that it names.

    Raises:
        ConfigError: it cannot be read or is wrong; says where and what should be there, without a value.
    """
    channels = Channels(path, read_tables(path, "channel", ChannelConfig, setting=SETTING))
    for one in channels.all:
        _check(path, one)
        secrets_of(channels, one)
    if len(set(channels.names)) < len(channels.names):
        raise refused(path, "two channels have the same name", SETTING)
    return channels


def secrets_of(channels: Channels, one: ChannelConfig) -> Secrets:
    """What the files of a channel hold now.

    Raises:
        ConfigError: one cannot be read, or holds no address or secret; says nothing of what it holds.
    """
    url = _read(channels.path, one, "url_file", one.url_file)
    if (why := _wrong_with_url(one, url)) is not None:
        raise _channel_refused(channels.path, one, f"has a url_file {why}")
    keys: Sequence[bytes] = ()
    if one.secret_file is not None:
        held = _read(channels.path, one, "secret_file", one.secret_file)
        try:
            keys = [read_secret(line) for line in held.split()]
        except ValueError as error:
            raise _channel_refused(channels.path, one, f"has a secret_file: {error}") from None
    return Secrets(url, tuple(keys))


def _check(path: Path, one: ChannelConfig) -> None:
    for kind in one.events:
        if kind not in KINDS:
            # Ours to repeat: the name of an event is no secret, and a long text is cut.
            hint = did_you_mean(kind, list(KINDS))
            raise _channel_refused(path, one, f"names an event that does not exist{hint}")
    if (one.kind == "webhook") is not (one.secret_file is not None):
        needs = "needs a secret_file" if one.kind == "webhook" else "signs nothing: no secret_file"
        raise _channel_refused(path, one, needs)


def _read(path: Path, one: ChannelConfig, key: str, name: str) -> str:
    file = path.parent / Path(name).expanduser()
    try:
        with file.open("rb") as opened:
            held = decode(opened.read(MOST_BYTES + 1)).strip()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise _channel_refused(path, one, f"has a {key} that cannot be read: {why}") from None
    except NotTextError as error:
        raise _channel_refused(path, one, f"has a {key} that {error}") from None
    if not held or len(held) > MOST_BYTES:
        size = "is empty" if not held else f"is longer than {MOST_BYTES:,} bytes"
        raise _channel_refused(path, one, f"has a {key} that {size}")
    return held


def _wrong_with_url(one: ChannelConfig, url: str) -> str | None:
    """Why an address cannot be used; None if it can. It never says the address."""
    if len(url.split()) != 1:
        return "with more than one line or word: it holds one address"
    if one.kind == "apprise":
        return None if "://" in url else "that holds no address of Apprise's, such as mailto://…"
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:  # such as a port that is no number, or a broken IPv6 address
        return "that holds no URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_fits:
        return "that holds no http:// or https:// URL"
    if parts.username or parts.password or parts.fragment:
        return "that holds a URL with a user, a password or a fragment"
    return None


def _channel_refused(path: Path, one: ChannelConfig, why: str) -> ConfigError:
    return refused(path, f"the channel {one.name} {why}", SETTING)
