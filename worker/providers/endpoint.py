"""One endpoint with OpenAI's protocol: a prompt out, an answer or the reason for none back.

The `openai` package carries the request. What comes back is read here, strictly: an endpoint may
send anything, and what is accepted goes into the database.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Raw

from worker.errors import ConfigError
from worker.providers.config import SETTING, ProviderConfig
from worker.providers.loop import LoopThread
from worker.providers.retry import retry_after_s

if TYPE_CHECKING:
    import ssl

    import httpx2
    import openai

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
MAX_REFUSAL_BYTES: Final = 64 * 1024
BYTES_PER_TOKEN: Final = 3
"""What a token is taken for where an endpoint does not say what it counted."""

CLOSE_S: Final = 1.0

# Beyond these the client would send what it finds in the environment for OpenAI alone (its
# organization, any other header), and what it tells about this machine.
_SENT_HEADERS: Final = frozenset(
    {
        *("host", "accept", "accept-encoding", "connection", "user-agent"),
        *("content-type", "content-length", "transfer-encoding"),
        "x-stainless-raw-response",  # by which the client knows that we read the body ourselves
    }
)
# At `debug` these write prompts and addresses.
_CHATTY_LOGGERS: Final = ("openai", "httpx2", "httpcore2")
_MAY_PASS: Final = frozenset({408, 409, 425, 429})
_ABOUT_THE_REQUEST: Final = frozenset({400, 413, 414, 415, 422})
_PLAIN_WORD: Final = re.compile(r"[a-z]+(?:_[a-z]+)*", re.ASCII)


class Usage(msgspec.Struct, frozen=True):
    """The tokens that a request took."""

    prompt_tokens: Annotated[int, Meta(ge=0, le=100_000_000)]
    completion_tokens: Annotated[int, Meta(ge=0, le=100_000_000)] = 0

    @property
    def total(self) -> int:
        """Those of the prompt and of the answer."""
        return self.prompt_tokens + self.completion_tokens


class Answer(msgspec.Struct, frozen=True):
    """What a provider answered, and which. `model` is the endpoint's name for it."""

    provider: str
    model: str
    text: str
    usage: Usage


class NoAnswerError(Exception):
    """Why an endpoint gave no answer, without a word of what was sent or came back.

    `again` says whether the same request may succeed in a moment, `faults` whether it tells against
    the endpoint rather than the request. `usage` is known where a useless answer was counted.
    """

    def __init__(
        self,
        why: str,
        *,
        again: bool = False,
        faults: bool = True,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(why)
        self.again = again
        self.faults = faults
        self.retry_after_s = retry_after_s
        self.usage = usage


class Endpoint:
    """A provider that can be asked. Its key is sent to it alone."""

    def __init__(self, config: ProviderConfig, key: str | None, loop: LoopThread) -> None:
        self.config = config
        self._loop = loop
        self._client = _client(config, key)

    def ask(
        self, prompt: str, model: str, temperature: float, max_tokens: int, *, timeout_s: float
    ) -> Answer:
        """Make one request.

        Raises:
            NoAnswerError: there is no answer that can be used within `timeout_s`.
        """
        name = self.config.model_for(model)
        try:
            body = self._loop.run(
                self._request(name, prompt, temperature, max_tokens), max(0.0, timeout_s)
            )
        except TimeoutError:
            raise NoAnswerError("no answer in time") from None
        text, usage = read_answer(body)
        return Answer(self.config.name, name, text, usage or _estimate(prompt, text))

    async def _request(self, model: str, prompt: str, temperature: float, max_tokens: int) -> bytes:
        import openai  # noqa: PLC0415 - an extra, and half a second

        try:
            async with self._client.chat.completions.with_streaming_response.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                temperature=temperature,
                extra_body={self.config.max_tokens_key: max_tokens},
            ) as response:
                body = bytearray()
                async for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise NoAnswerError(f"its answer is larger than {MAX_ANSWER_BYTES:,} bytes")
                return bytes(body)
        except NoAnswerError:
            raise
        except openai.APIConnectionError as error:
            # Not chained, here and below: messages may hold what was sent, the key included.
            raise NoAnswerError(_kind(error.__cause__ or error), again=True) from None
        except Exception as error:  # noqa: BLE001 - while the body comes, whatever it is
            raise NoAnswerError(_kind(error), again=True) from None

    def close(self) -> None:
        """Close its connections."""
        with suppress(TimeoutError):  # then they end with the process
            self._loop.run(self._client.close(), CLOSE_S)


def check_installed() -> None:
    """Raise ConfigError unless the extra `live` is installed."""
    if find_spec("openai") is None:
        raise ConfigError(
            "asking models needs the extra `live`: pip install 'flowshift[live]'", setting=SETTING
        )


def read_answer(body: bytes) -> tuple[str, Usage | None]:
    """The text of a chat completion, and what it took where the endpoint tells.

    Raises:
        NoAnswerError: it is no chat completion, or its text is none that PostgreSQL can hold.
    """
    try:
        answer = _completion.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # What the decoder says names places and types, never what is there.
        raise NoAnswerError(f"its answer is no chat completion ({_kind(error)})") from None
    usage = _usage(answer.usage)
    text = answer.choices[0].message.content
    if text is None:
        raise NoAnswerError("its answer holds no text", usage=usage)
    if "\x00" in text:
        raise NoAnswerError("its answer holds NUL, which PostgreSQL cannot store", usage=usage)
    return text, usage


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message


class _Completion(msgspec.Struct, frozen=True):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: Raw = Raw(b"null")


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    type: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


_completion = msgspec.json.Decoder(_Completion)
_usage_decoder = msgspec.json.Decoder(Usage)
_refusal = msgspec.json.Decoder(_Refusal)


def _usage(raw: Raw) -> Usage | None:
    try:
        return _usage_decoder.decode(raw)
    except msgspec.DecodeError:
        return None


def _estimate(prompt: str, text: str) -> Usage:
    return Usage(*(-(-len(one.encode()) // BYTES_PER_TOKEN) for one in (prompt, text)))


def _client(config: ProviderConfig, key: str | None) -> openai.AsyncOpenAI:
    import httpx2  # noqa: PLC0415 - comes with the extra
    import openai  # noqa: PLC0415

    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)

    async def dress(request: httpx2.Request) -> None:
        for header in set(request.headers) - _SENT_HEADERS:
            del request.headers[header]
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key}"

    return openai.AsyncOpenAI(
        api_key="-",  # the real one is put on at the last moment, where nothing is logged
        base_url=config.base_url,
        max_retries=0,  # retried by the chain, within its own time and budget
        http_client=openai.DefaultAsyncHttpxClient(
            verify=_tls(),
            timeout=httpx2.Timeout(config.read_timeout_s, connect=config.connect_timeout_s),
            event_hooks={"request": [dress], "response": [_refuse]},
        ),
    )


@cache
def _tls() -> ssl.SSLContext:
    """How servers are verified; reading the certificates takes a while, so once a process."""
    import httpx2  # noqa: PLC0415

    return httpx2.create_ssl_context()


async def _refuse(response: httpx2.Response) -> None:
    """Raise NoAnswerError for every status but success, whatever else comes and however much.

    A redirect is none: prompts go where the configuration says, and nowhere else.
    """
    if response.is_success:
        return
    status = response.status_code
    word = _word(await _beginning(response))
    raise NoAnswerError(
        f"HTTP {status} {word}" if word else f"HTTP {status}",
        again=status in _MAY_PASS or status >= 500,
        faults=status not in _ABOUT_THE_REQUEST,
        retry_after_s=retry_after_s(response.headers.get("retry-after"), dt.datetime.now(dt.UTC)),
    )


async def _beginning(response: httpx2.Response) -> bytes:
    body = bytearray()
    with suppress(Exception):  # the status says enough
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_REFUSAL_BYTES:
                break
    return bytes(body)


def _word(body: bytes) -> str | None:
    """The endpoint's own word for an error, where it is a plain one: its sentences may quote us.

    >>> _word(b'{"error": {"message": "Incorrect key sk-12", "code": "invalid_api_key"}}')
    'invalid_api_key'
    """
    try:
        error = _refusal.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    words = (word for word in (error.code, error.type) if word and _PLAIN_WORD.fullmatch(word))
    return next(words, None)


def _kind(error: BaseException) -> str:
    return type(error).__name__
