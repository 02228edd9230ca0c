"""The command line: one file a command or group of commands, put together in `app.py`.

Exit codes: 0 done, 1 it failed or does not hold, 2 wrong usage. What people asked for is on stdout; errors (one
sentence and what to do) and logs are on stderr. `--json` prints one JSON value, or one a line where it goes on.
"""

import sys


def main() -> None:
    """Run the command that the arguments name, and exit."""
    from postback.cli.failures import telling

    with telling():
        match sys.argv[1:]:
            # As the children of `serve` are called: without the library that parses options, which costs 15 MB each.
            case ["api", "--fd", fd] if fd.isdigit():
                from postback.cli import roles

                roles.run_api(int(fd))
            case ["worker"]:
                from postback.cli import roles

                roles.run_worker()
            case arguments:
                from postback.cli import logs
                from postback.cli.app import run

                logs.configure_structlog("warning")
                sys.exit(run(arguments))
