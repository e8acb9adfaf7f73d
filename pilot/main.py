"""The pilot's entry: reads the command line, prepares the place, ends cleanly."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ..core.process import become_subreaper
from . import processes
from .errors import Exit, PilotExit
from .keeper import fork_keeper
from .leftovers import mark, remove_leftovers
from .logs import set_up
from .options import parse
from .payload_process import PayloadKeeper
from .pilot import make_home, run_pilot

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run a pilot; gives its exit code (`docs/pilot.md` lists them)."""
    options = parse(argv)
    try:
        home = make_home(options.workdir)
    except PilotExit as error:
        sys.stderr.write(f"pilot: {error}\n")
        return error.exit_code
    become_subreaper()
    cleanup = options.cleanup.lower() != "false"
    marked = _marked(home) if cleanup else None
    try:
        keeper = _keeper()
    except PilotExit as error:
        sys.stderr.write(f"pilot: {error}\n")
        _leave_nothing(home, cleanup)
        return error.exit_code
    set_up(home / "pilot.log", options.debug)
    for left in remove_leftovers(home.parent) if cleanup else ():
        log.info("home of a killed pilot removed", extra={"event": "leftover", "home": str(left)})
    try:
        return run_pilot(options, home, keeper)
    except PilotExit as error:
        log.error("pilot cannot start", extra={"event": "start", "reason": str(error)})
        return error.exit_code
    finally:
        keeper.close()
        _leave_nothing(home, cleanup)
        if marked is not None:
            marked.close()


def _keeper() -> PayloadKeeper:
    """Start the keeper; raises PilotExit where no process may start."""
    try:
        return PayloadKeeper(*fork_keeper())
    except OSError as error:
        raise PilotExit(Exit.NO_PROCESSES, f"no process can be started: {error}; see ulimit -u") from error


def _marked(home: Path) -> IO[str] | None:
    """Mark the home as in use; where that cannot be, nobody will clean up after us if we are killed."""
    try:
        return mark(home)
    except OSError:
        return None


def _leave_nothing(home: Path, cleanup: bool) -> None:
    """End what may be left of payloads, then remove the pilot's home."""
    processes.kill_descendants(within_seconds=3.0)
    if cleanup:
        logging.shutdown()
        shutil.rmtree(home, ignore_errors=True)
