#!/usr/bin/env python3
"""The general run transform: what a pilot starts for a prun job (`/trf/user/runGen-00-00-02`).

It unpacks the user's sandbox (`-a`, fetched from `<sourceURL>/cache/`) or library (`-l`, already
staged in) in `./workDir`, runs the percent-encoded command (`-p`) there, and brings the outputs
(`-o`) and metadata back to the job directory. In multi-step mode `--preprocess` only prepares, and
writes `__run_main_exec.sh` for somebody else to run, in a container for instance; `--postprocess`
only brings the outputs back. Standard library only, Python 3.6 or newer.

Exit codes: 10 a bad or missing argument, 11 no input left, 143 bad archive, 146 download failed;
otherwise the command's own code (128 + signal when a signal ended it), modulo 255.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # the job's directory: an input named like a module must not be taken for it

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import List

from .archives import fetch, unpack
from .inputs import fill_in, input_streams, link_inputs, staged_names, staged_streams, write_name_files
from .outputs import (
    collect_metadata,
    collect_outputs,
    faults_of_outputs,
    made_under_real_names,
    plain_outputs,
    with_real_names,
)
from .toolbox import (
    EXIT_BAD_ARGUMENT,
    Options,
    TransformError,
    exit_code_of,
    folder_below,
    fresh,
    main_of,
    read_literal,
    refuse,
    run_command,
    say,
    unquoted,
)
from .user_secrets import UserSecrets

MAIN_SCRIPT = "__run_main_exec.sh"
VARIABLES_SCRIPT = "__run_main_env.sh"

FLAGS_WITHOUT_EFFECT = [
    "--usePFCTurl",
    "--directIn",
    "--useAthenaPackages",
    "--useCMake",
    "--useRootCore",
    "--debug",
    "--noTarballDownload",
    "--noExpandDBR",
    "--skipInputByRetry",
    "--mergeOutput",
    "--useLocalIO",
    "--lumiBlock",
]
VALUES_WITHOUT_EFFECT = [
    "--inputGUIDs",
    "--rootVer",
    "--cmtConfig",
    "--dbrFile",
    "--fileToSave",
    "--fileToLoad",
    "--overwriteQueuedata",
    "--accessmode",
    "--oldPrefix",
    "--newPrefix",
    "--minTimeout",
    "--containerImage",
]


def parse(argv: List[str]) -> argparse.Namespace:
    """Read the arguments; raises TransformError naming every fault."""
    options = Options("runGen", "Runs a user's command in the user's sandbox.")
    options.add_argument("-j", dest="prefix", default="", help="text put before the command")
    options.add_argument("-p", dest="command", default="", help="the command, percent-encoded")
    options.add_argument("-r", dest="run_dir", default=".", help="directory inside the sandbox to run in")
    options.add_argument("-a", dest="sandbox", default="", help="sandbox archive below <sourceURL>/cache/")
    options.add_argument("-l", dest="library", default="", help="library archive in the job directory")
    options.add_argument("-o", dest="outputs", default="{}", help="dict text: local name -> file name")
    options.add_argument("-i", dest="inputs", default="[]", help="list text: input file names")
    options.add_argument("--inMap", dest="streams", default="{}", help="dict text: stream -> list of file names")
    options.add_argument("--sourceURL", dest="source_url", default="", help="server that keeps the sandbox")
    options.add_argument("--writeInputToTxt", dest="name_files", default="", help="STREAM:file[,STREAM:file]")
    options.add_argument("--allowNoOutput", dest="optional", default="", help="outputs that may be missing")
    options.add_argument("--execWithRealFileNames", dest="real_names", action="store_true", help="of outputs, in -p")
    options.add_argument("--givenPFN", dest="given_pfn", action="store_true", help="-i has addresses, not staged files")
    options.add_argument("--preprocess", action="store_true", help="prepare everything, run nothing")
    options.add_argument("--postprocess", action="store_true", help="only collect the outputs")
    options.accept(*FLAGS_WITHOUT_EFFECT, action="store_true")
    options.accept(*VALUES_WITHOUT_EFFECT)
    given = options.read(argv)
    faults = []  # type: List[str]
    if given.preprocess and given.postprocess:
        faults.append("--preprocess and --postprocess are two steps of their own")
    if not (given.command or given.prefix or given.postprocess):
        faults.append("no command: -p is missing")
    given.outputs = read_literal("-o", given.outputs, dict, faults)
    given.streams = read_literal("--inMap", given.streams, dict, faults)
    given.inputs = read_literal("-i", given.inputs, list, faults)
    refuse(faults + faults_of_outputs(given.outputs))
    return given


def prepare(options: argparse.Namespace, job_dir: Path, work_dir: Path) -> Path:
    """Unpack the user's files, link the inputs, write names and secrets; gives the run directory."""
    shutil.rmtree(str(work_dir), ignore_errors=True)
    work_dir.mkdir()
    if options.library:
        unpack(job_dir / options.library, work_dir)
    elif options.sandbox:
        archive = job_dir / Path(options.sandbox).name
        fetch(options.source_url, archive.name, archive)
        unpack(archive, work_dir)
    run_dir = folder_below(work_dir, options.run_dir)
    streams = input_streams(options)
    link_inputs(staged_streams(options, job_dir), job_dir, run_dir)
    write_name_files(options.name_files, streams, run_dir)
    return run_dir


def whole_command(options: argparse.Namespace) -> str:
    """Give the shell command: prefix and command, with file names in the place of `%IN`, `%OUT` and the like."""
    streams = input_streams(options)
    command = unquoted(options.command)
    made = plain_outputs(options.outputs)
    if options.real_names:
        command = with_real_names(command, {local: options.outputs[local] for local in made})
        made = [options.outputs[local] for local in made]
    if made:
        streams.setdefault("OUT", made)
    return f"{options.prefix} {fill_in(command, streams)}".strip()


def main_script(command: str, run_dir: str, secret_files: List[str]) -> str:
    """Give the script that runs the command, started in the job directory, by any shell, wherever that is mounted.

    It is printed by those who start it, so secrets are in a file of their own, which is gone before the command runs.
    """
    lines = [
        "#!/bin/sh",
        f"if [ -f {VARIABLES_SCRIPT} ]; then . ./{VARIABLES_SCRIPT}; rm -f {VARIABLES_SCRIPT}; fi",
        f"cd {shlex.quote(run_dir)} || exit {EXIT_BAD_ARGUMENT}",
        "PATH=.:$PATH; export PATH",
        "shell=sh; if command -v bash >/dev/null 2>&1; then shell=bash; fi",
        f'"$shell" -c {shlex.quote(command)}',
        "code=$?",
        *(f"rm -f -- {shlex.quote(name)}" for name in secret_files),
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def write_main_script(command: str, run_dir: Path, job_dir: Path, secrets: UserSecrets) -> None:
    """Write what the main step needs to the job directory."""
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in secrets.variables.items()]
    path = fresh(job_dir / VARIABLES_SCRIPT)
    if exports:
        with os.fdopen(os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as sink:
            sink.write("".join(exports))
    script = fresh(job_dir / MAIN_SCRIPT)
    script.write_text(main_script(command, os.path.relpath(str(run_dir), str(job_dir.resolve())), list(secrets.files)))
    script.chmod(0o755)


def finish(options: argparse.Namespace, run_dir: Path, job_dir: Path, work_dir: Path) -> None:
    """Collect outputs and metadata and remove the rest."""
    optional = [lfn.strip() for lfn in options.optional.split(",")]
    outputs = made_under_real_names(options.outputs, run_dir) if options.real_names else options.outputs
    collect_outputs(outputs, optional, staged_names(staged_streams(options, job_dir)), run_dir, job_dir)
    collect_metadata(run_dir, job_dir)
    shutil.rmtree(str(work_dir), ignore_errors=True)


def transform(argv: List[str], job_dir: Path) -> int:
    """Do the whole work, or one step of it, in a job directory; gives the exit code. Raises TransformError."""
    options = parse(argv)
    work_dir = job_dir / "workDir"
    secrets = UserSecrets.read(job_dir)
    if options.postprocess:
        if not work_dir.is_dir():
            raise TransformError(EXIT_BAD_ARGUMENT, "nothing to collect: --preprocess did not run here")
        run_dir = folder_below(work_dir, options.run_dir)
        secrets.remove_files(run_dir)
        finish(options, run_dir, job_dir, work_dir)
        return 0
    run_dir = prepare(options, job_dir, work_dir)
    command = whole_command(options)
    secrets.write_files(run_dir)
    if options.preprocess:
        write_main_script(command, run_dir, job_dir, secrets)
        say(f"prepared {MAIN_SCRIPT} for: {command}")
        return 0
    say(f"running in {run_dir}: {command}")
    try:
        code = run_command(["bash", "-c", command], run_dir, secrets.variables)
    finally:
        secrets.remove_files(run_dir)
    finish(options, run_dir, job_dir, work_dir)
    return exit_code_of(code)


if __name__ == "__main__":
    sys.exit(main_of("runGen", transform))
