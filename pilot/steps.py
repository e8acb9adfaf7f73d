"""A payload in several steps: preprocess, the payload itself, perhaps in a container, postprocess (pilot protocol 6.4).

They run as one payload: one output, one lease, one exit code.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from ..core.containers import ContainerError, container_command, find_runtime, outside_folders
from .errors import Code, PilotError

#: Where the shell notes which step ended the payload, in the job directory.
FAILED_STEP_FILE = ".failed_step"
CODES = {"preprocess": Code.PREPROCESS_FAILED, "postprocess": Code.POSTPROCESS_FAILED}


def in_container(command: str, image: str, directory: Path, variables: Iterable[str]) -> str:
    """Give the shell command that runs a shell command in an image, with the job directory where it is.

    The storages that staged-in files are links to can be read there. Raises PilotError.
    """
    try:
        home = str(directory.resolve())
        argv = container_command(
            find_runtime(), image, command, home, home, outside_folders(directory), sorted(variables)
        )
    except ContainerError as error:
        raise PilotError(Code.NO_CONTAINERS_HERE, str(error)) from error
    return shlex.join(argv)


def in_steps(preprocess: str, main: str, postprocess: str) -> str:
    """Join steps to one shell command; an empty one is left out.

    After a failed preprocess nothing else runs. Postprocess always follows the main step, so that what there is of
    outputs and metadata is collected; it is the main step's exit code that counts then, unless that is 0.
    """
    if not preprocess and not postprocess:
        return main
    lines = []
    if preprocess:
        lines += [_shell(preprocess), f"code=$?; [ $code -eq 0 ] || {{ {_note('preprocess')}; exit $code; }}"]
    lines += [_shell(main), "code=$?"]
    if postprocess:
        lines += [
            _shell(postprocess),
            f"after=$?; [ $code -ne 0 ] || [ $after -eq 0 ] || {{ {_note('postprocess')}; code=$after; }}",
        ]
    return "\n".join([*lines, "exit $code"])


def failed_step(directory: Path) -> str:
    """Name the step beside the main one that ended the payload, or nothing."""
    path = directory / FAILED_STEP_FILE
    noted = path.read_text().strip() if path.is_file() else ""
    return noted if noted in CODES else ""


def _shell(command: str) -> str:
    """Keep a step's shell text to itself: it can neither end the others nor run into them."""
    return f"/bin/bash -c {shlex.quote(command)}"


def _note(step: str) -> str:
    return f"echo {step} >{FAILED_STEP_FILE}"
