"""`python -m worker` is `flowshift`."""

import gc
import sys


def main() -> None:
    """Run a command, without the garbage collector until it is loaded.

    It would find nothing there, and takes a third of the time that a short command takes:
    `worker.cli.commands` turns it on.
    """
    gc.disable()
    try:
        from worker.cli import main as run  # noqa: PLC0415  (what takes the time)

        run()
    except KeyboardInterrupt:  # while it was loaded
        sys.exit(130)


if __name__ == "__main__":
    main()
