"""`python -m worker` is `flowshift`."""

import codecs
import gc
import os
import sys
from io import TextIOWrapper
from typing import Final

_SIGNS: Final = {
    "→": "->", "←": "<-", "…": "...", "–": "-", "—": "-", "·": "-", "µ": "u", "▶": ">", "‖": "||"
}  # fmt: skip
"""Our own signs, and what stands for them where an encoding lacks them."""


def main() -> None:
    """Run a command, without the garbage collector until it is loaded.

    It would find nothing there, and takes a third of the time that a short command takes:
    `worker.cli.commands` turns it on.
    """
    gc.disable()
    open_what_is_closed()
    escape_what_encodings_lack()
    try:
        from worker.cli import main as run  # noqa: PLC0415  (what takes the time)

        run()
    except KeyboardInterrupt:  # while it was loaded
        sys.exit(130)


def open_what_is_closed() -> None:
    """Give a process that was started without standard streams (`>&-`) empty ones.

    Otherwise the next file or socket that is opened, a server's perhaps, takes their place.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def escape_what_encodings_lack() -> None:
    """Let a terminal whose encoding lacks a letter of a bot's name show its code, and no traceback.

    Of our own signs it shows something like them.
    """
    codecs.register_error("flowshift", _in_other_signs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="flowshift")


def _in_other_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = "".join(
        _SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking
    )
    return shown, error.end


if __name__ == "__main__":
    main()
