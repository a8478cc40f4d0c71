"""Messages through Apprise, in a process of their own.

Apprise speaks to over a hundred services, in its own time and words. Beside us it can hang, print
addresses and follow redirects only as long and as far as this module lets it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

import msgspec

from worker.channels.http import TIMEOUT_S
from worker.core.notify.retry import Answer

START_S: Final = 10.0
"""What loading Apprise may take besides, on a busy machine."""

_PASSED_ON: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)

# No redirect is followed, whatever a plugin asks for; nothing is logged or kept on the disk.
_PROGRAM: Final = """
import json, logging, sys
import requests
requests.Session.get_redirect_target = lambda self, response: None
import apprise
logging.disable(logging.CRITICAL)
note = json.load(sys.stdin)
asset = apprise.AppriseAsset(storage_mode="memory", interpret_escapes=False, interpret_emojis=False)
service = apprise.Apprise.instantiate(note["url"], asset=asset)
if service is None:
    sys.exit(3)
told = apprise.Apprise(asset=asset)
told.add(service)
sys.exit(0 if told.notify(
    body=note["body"], title=note["title"], notify_type=note["type"], body_format="text") else 1)
"""

_MEANINGS: Final[Mapping[int, Answer]] = {
    0: Answer("sent", "Apprise sent it"),
    1: Answer("failed", "the service behind Apprise did not take it"),
    3: Answer("failed", "Apprise knows no such service, or not such an address"),
}


def is_installed() -> bool:
    """Whether the extra `notify` is installed."""
    return find_spec("apprise") is not None


def send(url: str, note: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send a note (`title`, `body`, `type`) to one address of Apprise's. Never raises for what happens."""
    if not is_installed():
        return Answer("failed", "it needs the extra `notify`: pip install 'flowshift[notify]'")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM],
            input=msgspec.json.encode({"url": url, **note}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            timeout=timeout_s + START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("failed", f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Answer("failed", f"Apprise could not be started: {type(error).__name__}")
    return _MEANINGS.get(done.returncode, Answer("failed", f"Apprise ended with {done.returncode}"))
