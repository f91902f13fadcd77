"""The command line: reads the options, runs the server, and turns errors into one sentence and an exit code."""

import os
import sys
from collections.abc import Sequence

import trio

from mudserver import replay
from mudserver.config import load_config
from mudserver.errors import ConfigError, MudserverError, first_cause
from mudserver.logs import set_up_logging
from mudserver.server import describe, serve

EXIT_USAGE = 2
EXIT_CANNOT_START = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until it is told to stop, or `replay` if that is the first word.

    Returns 0, or 2 for a bad option, or 1 if the server cannot start.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["replay"]:
        return replay.main(arguments[1:])
    try:
        config = load_config(arguments, os.environ)
    except ConfigError as error:
        print(f"mudserver: {error}", file=sys.stderr)
        return EXIT_USAGE
    set_up_logging(config.log_level, config.log_format)
    exit_code = 0
    try:
        trio.run(serve, config, lambda ready: print(describe(ready, config), flush=True))
    except* MudserverError as errors:
        print(f"mudserver: {first_cause(errors)}", file=sys.stderr)
        exit_code = EXIT_CANNOT_START
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
