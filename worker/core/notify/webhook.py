"""Signed webhooks by the Standard Webhooks specification, version 1.0.0 (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from worker.core.notify.message import DELAYED_S, Message

PREFIX: Final = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64


def read_secret(text: str) -> bytes:
    """The key in a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`.

    Raises:
        ValueError: it is none; says what it should be, and nothing of what it is.

    >>> len(read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    24
    """
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(
            f"it is no secret of Standard Webhooks: {PREFIX} and {LEAST_BYTES} to {MOST_BYTES} random"
            " bytes in base64"
        ) from None
    return key


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """One signature: `v1,` and the HMAC-SHA256 of id, time and body in base64.

    >>> key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(
    keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """The headers of one try; with several keys as many signatures, so that a secret can be replaced."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(sign(key, message_id, timestamp_s, body) for key in keys),
    }


def body_of(message: Message) -> bytes:
    """The payload: `type`, when it happened, and `data` with texts and ids; the same texts as elsewhere.

    Texts are exact, as JSON: who shows them escapes them.
    """
    return msgspec.json.encode(
        {
            "type": message.kind,
            "timestamp": message.happened_at,
            "data": {
                "source": message.source,
                "level": message.level,
                "title": message.title,
                "reason": message.reason,
                "next_step": message.next_step,
                "page": message.page,
                "repeats": message.repeats,
                "delayed_s": round(message.age_s) if message.age_s > DELAYED_S else None,
                **{key: value for key, value in message.detail.items() if value is not None},
            },
        }
    )
