#!/usr/bin/env python3
"""The build transform: makes the library of a prun task from its sources (`/trf/user/buildGen-00-00-01`).

It fetches the sources (`-i`) from `<sourceURL>/cache/`, unpacks them in `./workDir`, runs the
percent-encoded build command (`--bexec`) there, and packs all of `workDir` to the library (`-o`),
which the run jobs of the task unpack in place of the sources. Standard library only, Python 3.6 or newer.

Exit codes: 10 a bad or missing argument, 20 the sources cannot be had or unpacked, 30 the build
command failed, 40 the library cannot be written.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # the job's directory: an input named like a module must not be taken for it

import argparse
import shutil
from pathlib import Path
from typing import List

from .archives import EXIT_BAD_ARCHIVE, EXIT_NO_DOWNLOAD, fetch, pack, unpack
from .toolbox import Options, TransformError, folder_below, is_plain_name, main_of, refuse, run_command, say, unquoted
from .user_secrets import UserSecrets

EXIT_NO_SOURCES = 20
EXIT_BUILD_FAILED = 30
EXIT_NO_LIBRARY = 40


def parse(argv: List[str]) -> argparse.Namespace:
    """Read the arguments; raises TransformError naming every fault."""
    options = Options("buildGen", "Builds the library of a task from its sources.")
    options.add_argument("-i", dest="sources", default="", help="archive of the sources below <sourceURL>/cache/")
    options.add_argument("-o", dest="library", default="", help="file name of the library")
    options.add_argument("-r", dest="run_dir", default=".", help="directory inside the sources to build in")
    options.add_argument("--bexec", dest="command", default="", help="the build command, percent-encoded")
    options.add_argument("--sourceURL", dest="source_url", default="", help="server that keeps the sources")
    options.accept("--noCompile", "--useAthenaPackages", "--useCMake", "--useRootCore", action="store_true")
    options.accept("--rootVer", "--cmtConfig", "--overwriteQueuedata")
    given = options.read(argv)
    faults = [
        f"{option}: {name!r} is not a plain file name"
        for option, name in (("-i", given.sources), ("-o", given.library))
        if not is_plain_name(name)
    ]
    refuse(faults)
    return given


def get_sources(options: argparse.Namespace, job_dir: Path, work_dir: Path) -> None:
    """Fetch and unpack the sources; raises TransformError."""
    try:
        fetch(options.source_url, options.sources, job_dir / options.sources)
        unpack(job_dir / options.sources, work_dir)
    except TransformError as error:
        known = error.exit_code in (EXIT_NO_DOWNLOAD, EXIT_BAD_ARCHIVE)
        raise TransformError(EXIT_NO_SOURCES if known else error.exit_code, str(error)) from error


def build(options: argparse.Namespace, job_dir: Path, run_dir: Path) -> None:
    """Run the build command, if there is one; raises TransformError."""
    if not options.command:
        return
    secrets = UserSecrets.read(job_dir)
    command = unquoted(options.command)
    say(f"building in {run_dir}: {command}")
    secrets.write_files(run_dir)
    try:
        code = run_command(["bash", "-c", command], run_dir, secrets.variables)
    finally:
        secrets.remove_files(run_dir)
    if code:
        raise TransformError(EXIT_BUILD_FAILED, f"the build command ended with code {code}")


def transform(argv: List[str], job_dir: Path) -> int:
    """Do the whole work in a job directory; gives the exit code. Raises TransformError."""
    options = parse(argv)
    work_dir = job_dir / "workDir"
    shutil.rmtree(str(work_dir), ignore_errors=True)
    work_dir.mkdir()
    get_sources(options, job_dir, work_dir)
    build(options, job_dir, folder_below(work_dir, options.run_dir))
    try:
        pack([work_dir], job_dir / options.library)
    except OSError as error:
        raise TransformError(EXIT_NO_LIBRARY, f"{options.library} cannot be written: {error}") from error
    shutil.rmtree(str(work_dir), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main_of("buildGen", transform))
