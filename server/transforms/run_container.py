#!/usr/bin/env python3
"""The container transform: runs a command in a container image (`/trf/user/runcontainer`).

The percent-encoded command (`-p`) runs in the image, in a directory of its own that the image sees
as `/data` (`--containerDataDir`) and in which the inputs are linked; the outputs (`-o`) come back to
the job directory. apptainer, podman or docker is used, whichever is there. Standard library only,
Python 3.6 or newer.

Exit codes: 10 a bad or missing argument, 11 no input left, 12 no program for containers or an image
it cannot run; otherwise the code of the command, or of that program, modulo 255.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # the job's directory: an input named like a module must not be taken for it

import argparse
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Dict, List

from ...core.containers import ContainerError, container_command, find_runtime, outside_folders
from .inputs import Streams, fill_in, input_streams, staged_names, write_name_files
from .outputs import collect_metadata, collect_outputs, faults_of_outputs, plain_outputs
from .toolbox import (
    EXIT_NO_INPUT,
    Options,
    TransformError,
    exit_code_of,
    main_of,
    read_literal,
    refuse,
    run_command,
    say,
    unquoted,
)
from .user_secrets import UserSecrets

EXIT_NO_CONTAINER = 12
#: Variables of the job that its command may rely on, handed on to the container.
JOB_VARIABLES = re.compile(r"(?:PandaID|PanDA_TaskID|PANDA(?:ID|_(?!AUTH)\w+)|ATHENA_PROC_NUMBER)")
_NAME = re.compile(r"[A-Za-z_]\w*")


def parse(argv: List[str]) -> argparse.Namespace:
    """Read the arguments; raises TransformError naming every fault."""
    options = Options("runcontainer", "Runs a command in a container image.")
    options.add_argument("-p", dest="command", default="", help="the command, percent-encoded")
    options.add_argument("--containerImage", "--image", dest="image", default="", help="the image to run in")
    options.add_argument("-o", dest="outputs", default="{}", help="dict text: local name -> file name")
    options.add_argument("-i", dest="inputs", default="[]", help="list text: input file names")
    options.add_argument("--inMap", dest="streams", default="{}", help="dict text: stream -> list of file names")
    options.add_argument("--writeInputToTxt", dest="name_files", default="", help="STREAM:file[,STREAM:file]")
    options.add_argument("--allowNoOutput", dest="optional", default="", help="outputs that may be missing")
    options.add_argument("--containerDataDir", dest="inside", default="/data", help="the directory in the image")
    options.add_argument("--containerCvmfs", dest="cvmfs", action="store_true", help="show /cvmfs to the command")
    options.add_argument("--containerX509", dest="x509", action="store_true", help="hand on the user's proxy")
    options.add_argument("--containerEnv", dest="variables", default="", help="NAME[=value],… for the command")
    options.accept("-j", "-r", "-a", "-l", "--sourceURL")
    options.accept("--debug", action="store_true")
    given = options.read(argv)
    faults = [
        f"{name} is missing"
        for name, value in (("-p, the command,", given.command), ("--containerImage", given.image))
        if not value
    ]
    if not given.inside.startswith("/"):
        faults.append(f"--containerDataDir {given.inside!r} is not an absolute path")
    given.outputs = read_literal("-o", given.outputs, dict, faults)
    given.streams = read_literal("--inMap", given.streams, dict, faults)
    given.inputs = read_literal("-i", given.inputs, list, faults)
    given.variables = _variables(given.variables, faults)
    refuse(faults + faults_of_outputs(given.outputs))
    return given


def _variables(words: str, faults: List[str]) -> Dict[str, str]:
    """Read `NAME=value,NAME`; a name alone stands for a variable of the machine."""
    found = {}
    for word in filter(None, words.split(",")):
        name, equals, value = word.partition("=")
        if not _NAME.fullmatch(name):
            faults.append(f"--containerEnv: {word!r} is not a variable")
        elif equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def link_staged(streams: Streams, job_dir: Path, work_dir: Path) -> None:
    """Link inputs to where they really are, which the container gets to see too; raises TransformError."""
    missing = [name for name in staged_names(streams) if not (job_dir / name).exists()]
    if missing:
        raise TransformError(EXIT_NO_INPUT, "input not in the job directory: {}".format(", ".join(missing)))
    for name in staged_names(streams):
        (work_dir / name).symlink_to((job_dir / name).resolve())


def run_in_image(options: argparse.Namespace, command: str, work_dir: Path, secrets: UserSecrets) -> int:
    """Run the command in the image; gives its exit code. Raises TransformError."""
    variables = {name: value for name, value in os.environ.items() if JOB_VARIABLES.fullmatch(name)}
    variables.update(options.variables)
    variables.update(secrets.variables)
    shared = outside_folders(work_dir)
    if options.cvmfs and Path("/cvmfs").is_dir():
        shared.append("/cvmfs")
    proxy = Path(os.environ.get("X509_USER_PROXY", "")).absolute()
    if options.x509 and proxy.is_file():
        variables["X509_USER_PROXY"] = str(proxy)
        shared.append(str(proxy))
    shell_command = "PATH=.:$PATH; export PATH; " + command
    try:
        argv = container_command(
            find_runtime(), options.image, shell_command, str(work_dir), options.inside, shared, sorted(variables)
        )
    except ContainerError as error:
        raise TransformError(EXIT_NO_CONTAINER, str(error)) from error
    say("running: " + " ".join(map(shlex.quote, argv)))
    return run_command(argv, work_dir, variables)


def transform(argv: List[str], job_dir: Path) -> int:
    """Do the whole work in a job directory; gives the exit code. Raises TransformError."""
    options = parse(argv)
    streams = input_streams(options)
    work_dir = job_dir.resolve() / "workDir"
    shutil.rmtree(str(work_dir), ignore_errors=True)
    work_dir.mkdir()
    link_staged(streams, job_dir, work_dir)
    write_name_files(options.name_files, streams, work_dir)
    made = plain_outputs(options.outputs)
    known = dict({"OUT": made} if made else {}, **streams)
    command = fill_in(unquoted(options.command), known)
    secrets = UserSecrets.read(job_dir)
    secrets.write_files(work_dir)
    try:
        code = run_in_image(options, command, work_dir, secrets)
    finally:
        secrets.remove_files(work_dir)
    optional = [lfn.strip() for lfn in options.optional.split(",")]
    collect_outputs(options.outputs, optional, staged_names(streams), work_dir, job_dir)
    collect_metadata(work_dir, job_dir)
    shutil.rmtree(str(work_dir), ignore_errors=True)
    return exit_code_of(code)


if __name__ == "__main__":
    sys.exit(main_of("runcontainer", transform))
