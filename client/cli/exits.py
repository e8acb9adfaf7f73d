"""How every command ends: one table of exit codes, and one way to tell an error (docs/client.md lists both)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import IntEnum

import click

from ...core.errors import BambooError
from ..text import printable


class Exit(IntEnum):
    """The exit codes, for scripts to rely on."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    NOT_AUTHENTICATED = 5
    UNREACHABLE = 6
    CONFLICT = 7
    INVALID = 8
    PARTLY_DONE = 9
    FINISHED_WITH_FAILURES = 10
    TIMED_OUT = 11
    INTERRUPTED = 130
    READER_GONE = 141


#: The HTTP status of an error decides.
BY_STATUS = {
    400: Exit.INVALID,
    401: Exit.NOT_AUTHENTICATED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NOT_FOUND,
    408: Exit.TIMED_OUT,
    409: Exit.CONFLICT,
    413: Exit.INVALID,
    422: Exit.INVALID,
    429: Exit.UNREACHABLE,
    502: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
    507: Exit.UNREACHABLE,
}


def exit_of(error: BambooError) -> Exit:
    return BY_STATUS.get(error.status, Exit.UNEXPECTED)


def tell(error: BambooError) -> None:
    """Print an error to stderr: what happened, every fault, what to do next, the code; the request id last."""
    faults = getattr(error, "faults", ())
    headline = (
        error.message.removesuffix("; ".join(str(fault) for fault in faults)).rstrip(": ") if faults else error.message
    )
    lines = [f"error: {headline}"]
    lines += [f"  - {fault}" for fault in faults]
    lines += [f"  hint: {error.hint}"] if error.hint else []
    lines += [f"  code: {error.code}"]
    request_id = getattr(error, "request_id", "")
    lines += [f"  request id: {request_id}"] if request_id else []
    for line in lines:
        click.echo(printable(line), err=True)


def guarded(run: Callable[[], object]) -> int:
    """Run a command line to its exit code; errors are told here and nowhere else."""
    try:
        result = run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return Exit.INTERRUPTED
    except BambooError as error:
        tell(error)
        return exit_of(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {printable(where)}{error.strerror or error}", err=True)
        return Exit.UNEXPECTED
    return result if isinstance(result, int) else Exit.OK


def drop_stdout() -> None:
    """Send what is still to be written nowhere: whoever read it, such as `head`, has seen enough."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
