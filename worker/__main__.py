"""`python -m worker` is `flowshift`."""

import gc


def main() -> None:
    """Load the commands and run one.

    Without the collector meanwhile, and with what is loaded out of its sight: it would find nothing
    there, at the end neither, and takes a third of the time that a short command takes.
    """
    gc.disable()
    from worker.cli import main as run  # noqa: PLC0415  (what takes the time)

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
