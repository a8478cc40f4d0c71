"""`python -m worker` is `flowshift`."""

from worker.cli import main

if __name__ == "__main__":
    main()
