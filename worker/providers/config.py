"""The providers of live trials: the TOML file that `FLOWSHIFT_PROVIDERS` names.

    [[provider]]
    name = "primary"
    base_url = "https://models.example/v1"
    api_key_env = "PRIMARY_API_KEY"     # the name of a variable, never the key

It holds no secret, and is checked when a process starts. docs/how-to/live-models.md explains every key.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, inspect

from worker.core.encoding import NotTextError, decode
from worker.errors import ConfigError
from worker.settings.expected import expected

SETTING: Final = "FLOWSHIFT_PROVIDERS"

LONGEST_CALL_S: Final = 300.0
"""All providers together may take this long for one prompt: half of a task's hard limit."""

EVERY_MODEL: Final = "*"

_Seconds = Annotated[float, Meta(gt=0, le=LONGEST_CALL_S)]


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One endpoint with OpenAI's protocol, and how long it is waited for.

    `timeout_s` covers everything that this provider is given for one prompt: every try, and the
    pauses between them. `connect_timeout_s` and `read_timeout_s` (the longest silence) are for each
    try. `models` maps the models of workflows to those of the endpoint, `*` matches all others.
    Prices are for a million tokens.
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
    base_url: Annotated[
        str, Meta(min_length=1, extra={"expected": "a URL such as https://models.example/v1"})
    ]
    api_key_env: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Z][A-Z0-9_]*$",
                extra={
                    "expected": "the name of an environment variable such as PRIMARY_API_KEY, never the key"
                },
            ),
        ]
        | None
    ) = None
    models: Annotated[
        dict[str, Annotated[str, Meta(min_length=1)]],
        Meta(extra={"expected": "a table that gives each model of a workflow a model's name"}),
    ] = {}
    timeout_s: _Seconds = 60.0
    connect_timeout_s: _Seconds = 5.0
    read_timeout_s: _Seconds = 30.0
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    # A pattern rather than a Literal, whose error would repeat what the file holds.
    max_tokens_key: Annotated[
        str,
        Meta(
            pattern="^max_(completion_)?tokens$",
            extra={"expected": "max_tokens or max_completion_tokens"},
        ),
    ] = "max_tokens"

    def model_for(self, model: str) -> str:
        """What this endpoint calls a model of a workflow.

        >>> one = ProviderConfig(name="a", base_url="http://h/v1", models={"gpt-4": "big", "*": "s"})
        >>> one.model_for("gpt-4"), one.model_for("claude-3"), one.model_for("*")
        ('big', 's', 's')
        """
        return self.models.get(model) or self.models.get(EVERY_MODEL) or model

    @property
    def is_priced(self) -> bool:
        """Whether the cost of an answer is known."""
        return self.input_price is not None and self.output_price is not None


class LiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The providers, the first to be asked first."""

    provider: Annotated[tuple[ProviderConfig, ...], Meta(min_length=1)]


def load(path: Path) -> LiveConfig:
    """Read and check the file.

    Raises:
        ConfigError: it cannot be read or is wrong; says where and what should be there, and repeats
            no value: one may be a key that was put into the wrong place.
    """
    try:
        found = tomllib.loads(decode(path.read_bytes()), parse_float=Decimal)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or type(error).__name__}") from error
    except NotTextError as error:
        raise _refused(path, str(error)) from None
    except tomllib.TOMLDecodeError as error:
        # Not chained: it holds the file's text.
        raise _refused(path, f"is no TOML: {error}") from None
    _refuse_unknown_keys(path, found)
    _refuse_values(path, found.get("provider"))
    config = msgspec.convert(found, LiveConfig)
    for one in config.provider:
        if (why_not := _wrong_with(one)) is not None:
            raise _refused(path, f"the provider {one.name} {why_not}")
    _check_together(path, config)
    return config


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path}: {why}", setting=SETTING)


def _refuse_unknown_keys(path: Path, found: Mapping[str, Any]) -> None:
    _refuse_unknown(path, found, LiveConfig, "")
    providers = found.get("provider")
    for number, one in enumerate(providers if isinstance(providers, list) else [], start=1):
        if isinstance(one, dict):
            _refuse_unknown(path, one, ProviderConfig, f" of provider {number}")


def _refuse_unknown(path: Path, keys: Mapping[str, Any], of: Any, where: str) -> None:
    known = [field.name for field in msgspec.structs.fields(of)]
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise _refused(path, f"there is no key {key!r}{where}{hint}")


def _refuse_values(path: Path, providers: Any) -> None:
    """Refuse what is missing and what does not fit, without the value."""
    if not isinstance(providers, list) or not providers:
        raise _refused(path, "it names no provider: begin each with [[provider]]")
    types = {field.name: field.type for field in msgspec.structs.fields(ProviderConfig)}
    described = inspect.type_info(ProviderConfig)
    assert isinstance(described, inspect.StructType)  # noqa: S101  (for the type checker)
    for number, one in enumerate(providers, start=1):
        if not isinstance(one, dict):
            raise _refused(path, f"provider {number} must be a table: begin it with [[provider]]")
        for field in described.fields:
            words = expected(field.type)
            if field.name not in one:
                if field.required:
                    raise _refused(path, f"provider {number} needs {field.name}: {words}")
                continue
            try:
                msgspec.convert(one[field.name], types[field.name])
            except msgspec.ValidationError:
                raise _refused(path, f"{field.name} of provider {number} must be {words}") from None


def _wrong_with(one: ProviderConfig) -> str | None:
    try:
        url = urlsplit(one.base_url)
        port_fits = url.port != 0
    except ValueError:  # such as a port that is no number, or a broken IPv6 address
        return "has a base_url that is no URL"
    if url.scheme not in {"http", "https"} or not url.hostname or not port_fits:
        return "has a base_url that is no http:// or https:// URL"
    if url.username or url.password or url.query or url.fragment:
        return "has a base_url with more than host and path: a key belongs into the environment"
    if (one.input_price is None) is not (one.output_price is None):
        return "needs both input_price and output_price, or neither"
    prices = (price for price in (one.input_price, one.output_price) if price is not None)
    if any(not price.is_finite() or price < 0 for price in prices):
        return "has a price that is no number from zero on"
    return None


def _check_together(path: Path, config: LiveConfig) -> None:
    names = [one.name for one in config.provider]
    if len(set(names)) < len(names):
        raise _refused(path, "two providers have the same name")
    together = sum(one.timeout_s for one in config.provider)
    if together > LONGEST_CALL_S:
        raise _refused(
            path,
            f"timeout_s of all providers together is {together:g}; at most {LONGEST_CALL_S:g}",
        )
