"""`connector` and `python -m connector` are one command; Ctrl-C ends it without a traceback, from the first import on.

Loading takes most of a second, and nothing has begun that would have to be ended in order. `run` keeps to that until
the loop listens to the signal itself; the other commands have a terminal to leave tidy, so they hear an exception.
"""

import signal
import sys


def main() -> None:
    """The command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from connector.cli import main as command

    if sys.argv[1:2] != ["run"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
