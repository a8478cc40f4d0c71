"""Commands as a person types them in another terminal: the line, then the command's own output."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from worker.cli.printing import Text, console

_POLL_S: Final = 0.1
_STOP_S: Final = 10.0


def typed(*arguments: str, environment: Mapping[str, str], meanwhile: Callable[[], None]) -> int:
    """Print `$ flowshift …` and run that command as a process; returns its exit code.

    `environment` is what it has besides ours; its output goes where ours goes. `meanwhile` is called
    several times a second. If it raises, or Ctrl-C comes, the command is ended first.
    """
    console().print(Text(f"$ flowshift {shlex.join(arguments)}", "bold"))
    command = (sys.executable, "-P", "-m", "worker", *arguments)
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            meanwhile()
            time.sleep(_POLL_S)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return process.returncode
