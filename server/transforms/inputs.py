"""A job's input files: their streams, where the command sees them, and how it is told their names."""

import argparse
import os
import re
from pathlib import Path
from typing import Any, Dict, List

from .toolbox import EXIT_BAD_ARGUMENT, EXIT_NO_INPUT, TransformError

Streams = Dict[str, List[str]]
#: What a shell takes as it stands. File names come from other people's datasets too.
_HARMLESS = re.compile(r"[\w.+:@%=~^/-]*")


def input_streams(options: argparse.Namespace) -> Streams:
    """Join `-i` and `--inMap` to one table: stream -> file names."""
    streams = {str(name): _split_names(files) for name, files in options.streams.items()}
    if options.inputs and "IN" not in streams:
        streams["IN"] = _split_names(options.inputs)
    return streams


def _split_names(files: Any) -> List[str]:
    return [str(name) for name in (files if isinstance(files, (list, tuple)) else str(files).split(","))]


def staged_streams(options: argparse.Namespace, job_dir: Path) -> Streams:
    """Give what the pilot brought: with `--givenPFN` a name of `IN` may be an address that only the command knows."""
    streams = input_streams(options)
    if options.given_pfn:
        streams["IN"] = [name for name in streams.get("IN", []) if "/" not in name and (job_dir / name).exists()]
    return streams


def staged_names(streams: Streams) -> List[str]:
    """List the files that the pilot brought; names with a path are addresses that the command opens itself."""
    return sorted({name for files in streams.values() for name in files if "/" not in name})


def link_inputs(streams: Streams, job_dir: Path, folder: Path) -> None:
    """Make the staged-in files visible in a folder; raises TransformError when one is missing."""
    names = staged_names(streams)
    missing = [name for name in names if not (job_dir / name).exists()]
    if missing:
        raise TransformError(EXIT_NO_INPUT, "input not in the job directory: {}".format(", ".join(missing)))
    to_job_dir = os.path.relpath(str(job_dir.resolve()), str(folder.resolve()))  # relative: containers move folders
    for name in names:
        link = folder / name
        if not link.exists() and not link.is_symlink():
            link.symlink_to(f"{to_job_dir}/{name}")


def write_name_files(wish: str, streams: Streams, folder: Path) -> None:
    """Write input names, one a line, to the files that `--writeInputToTxt` names."""
    for pair in filter(None, wish.split(",")):
        stream, colon, name = pair.partition(":")
        if not colon or not name or stream not in streams:
            raise TransformError(EXIT_BAD_ARGUMENT, f"--writeInputToTxt: no stream for {pair!r}")
        (folder / name).write_text("\n".join(streams[stream]) + "\n")


def fill_in(command: str, streams: Streams) -> str:
    """Replace `%STREAM` and `%{STREAM}` by comma-joined file names, longest stream names first.

    Raises TransformError when a staged-in file's name would mean something to the shell.
    """
    if not streams:
        return command
    names = "|".join(re.escape(name) for name in sorted(streams, key=len, reverse=True))

    def files(match: Any) -> str:
        stream = match.group(1) or match.group(2)
        harmful = [name for name in streams[stream] if "/" not in name and not _HARMLESS.fullmatch(name)]
        if harmful:
            raise TransformError(
                EXIT_BAD_ARGUMENT,
                f"%{stream}: a shell would not take {harmful[0]!r} as a file name; use --writeInputToTxt",
            )
        return ",".join(streams[stream])

    return re.sub(rf"%(?:({names})(?![A-Za-z0-9_])|\{{({names})\}})", files, command)
