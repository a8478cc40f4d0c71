"""A platform's program that does what a draft tells it: `{"do": "crash"}`. Python's own library alone.

Its first argument says how it begins: `honest`, or what is wrong with it from the start. Its second is a
file in which it writes a line each time that it is started.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONG = 20 * 1024 * 1024


def write(data: bytes) -> None:
    os.write(1, data) if len(data) < 4096 else sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def line(request_id: object, **fields: Any) -> bytes:
    return json.dumps({"id": request_id, **fields}).encode() + b"\n"


def hang() -> None:
    while True:
        time.sleep(60)


CRASHES = {"crash once": 1, "crash twice": 2}


def crash() -> None:
    os._exit(3)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang_with_a_child() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    hang()


def crash_with_a_child() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with Path(sys.argv[2]).open("a") as file:
        file.write(f"{child.pid}\n")
    os._exit(3)


def close_its_output() -> None:
    os.close(1)
    hang()


DONE = {
    "crash": crash,
    "kill": kill,
    "hang": hang,
    "hang with a child": hang_with_a_child,
    "crash with a child": crash_with_a_child,
    "closes its output": close_its_output,
}


def written(what: str, asked: str) -> bytes:
    """What no program should answer."""
    good = line(asked, messages=[])
    deep = b"[" * 90_000 + b"]" * 90_000
    start = b'{"id": "' + asked.encode() + b'", '
    made: dict[str, Callable[[], bytes]] = {
        "wrong id": lambda: line("0123456789abcdef", messages=[]),
        "number as id": lambda: line(7, messages=[]),
        "no id": lambda: b'{"messages": []}\n',
        "wrong type": lambda: line(asked, messages="fine"),
        "nothing in it": lambda: line(asked),
        "twice": lambda: good + good,
        "half a line": lambda: good[:-9],
        "no JSON": lambda: b"All good!\n",
        "blank line": lambda: b"\n" + good,
        "not UTF-8": lambda: line(asked, messages=["?"]).replace(b"?", b"\xff\xfe"),
        "half a surrogate": lambda: line(asked, messages=["\ud800"]),
        "deep": lambda: start + b'"messages": ' + deep + b"}\n",
        "deep beside": lambda: start + b'"x": ' + deep + b', "messages": []}\n',
        "huge": lambda: line(asked, messages=["x" * LONG]),
        "endless line": lambda: b"x" * 65_536,
        "endless lines": lambda: good,
    }
    return made[what]()


def misbehave(what: str, request: dict[str, Any]) -> None:
    """Answer a request as no program should."""
    if what in DONE:
        DONE[what]()
    data = written(what, request["id"])
    write(data)
    while what.startswith("endless"):
        write(data)
    if what == "half a line":
        os._exit(0)


def answer(request: dict[str, Any]) -> bytes:
    asked, graph = request["id"], request["graph"]
    if "error" in graph:
        return line(asked, error=graph["error"])
    if request["op"] == "execute":
        return line(asked, answer=graph.get("answer", ""), calls=graph.get("calls", []))
    if "environment" in graph:
        return line(asked, messages=sorted(os.environ))
    if "memory limit" in graph:
        return line(asked, messages=[str(resource.getrlimit(resource.RLIMIT_DATA)[0])])
    if "pid" in graph:
        return line(asked, messages=[str(os.getpid())])
    if "noise" in graph:
        sys.stderr.write("noise\n" * graph["noise"])
        sys.stderr.flush()
    return line(asked, messages=graph.get("messages", []), more={"ignored": True})


def begin(how: str, request: dict[str, Any]) -> bytes:
    match how:
        case "says nothing":
            hang()
        case "banner":
            return b"Welcome to Acme!\n" + line(request["id"], ops=["check"])
        case "wrong hello":
            return line("0", ops=["check"])
        case "error":
            return line(request["id"], error="no licence")
        case "check alone":
            return line(request["id"], ops=["check"])
    return line(request["id"], ops=["check", "execute"], name="Acme")


def main(how: str, starts: Path) -> None:
    with starts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if how == "dies at start" or (how == "dies at first" and len(starts.read_text().split()) == 1):
        sys.stderr.write("first line\nno database\n")
        sys.exit(1)
    waiting: list[bytes] = []
    for text in sys.stdin.buffer:
        request = json.loads(text)
        if request["op"] == "hello":
            write(begin(how, request))
            continue
        what = request["graph"].get("do")
        if how == "crashes at everything":
            os._exit(3)
        if how == "backwards":
            waiting.append(answer(request))
            if len(waiting) == 3:
                write(b"".join(reversed(waiting)))
            continue
        often = CRASHES.get(what, 0)
        if len(starts.read_text().split()) <= often:
            os._exit(3)
        if what and not often:
            misbehave(what, request)
        else:
            write(answer(request))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
