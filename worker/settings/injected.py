"""Variables that look like settings, and are none."""

from __future__ import annotations

import re
from typing import Final

OTHER_NAMES: Final = frozenset({"FLOWSHIFT_TEST_KEEP"})
"""Read by other parts of the environment (the compose file, the Makefile, the tests)."""

_SERVICE = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+")


def is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes made this variable for a service.

    For a service that is called flowshift these look like settings of ours.

    >>> is_injected("FLOWSHIFT_FLOWER_PORT", "tcp://10.0.0.1:5555"), is_injected("FLOWSHIFT_PORT", "1")
    (True, False)
    >>> is_injected("FLOWSHIFT_REDIS_SERVICE_PORT_HTTP", "80")
    True
    """
    if name.endswith("_PORT") and _ADDRESS.fullmatch(value):
        return True
    return _SERVICE.fullmatch(name) is not None
