#!/usr/bin/env python3
"""The merge transform: makes few large outputs of many small ones (`/trf/user/runMerge-00-00-02`).

Its arguments are groups `in1,in2:out`; each is merged by the user's script (`-j`), which comes in a
sandbox (`-a`) or library (`-l`) like that of a run job, or else by the kind of the output: text one
file after the other, tar files to one with all members, ROOT files by `hadd`. Logs become a tar of
the logs. Standard library only, Python 3.6 or newer.

Exit codes: 10 a bad or missing argument, 11 an input is missing, 12 no way to merge such files here,
143 bad archive, 146 download failed; otherwise the code of the script or of hadd, modulo 255.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # the job's directory: an input named like a module must not be taken for it

import argparse
import collections
import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Callable, List, NamedTuple

from .archives import fetch, names_below, pack, unpack
from .inputs import fill_in, link_inputs
from .toolbox import (
    Options,
    TransformError,
    exit_code_of,
    folder_below,
    is_plain_name,
    main_of,
    refuse,
    run_command,
    say,
)
from .user_secrets import UserSecrets

EXIT_NO_WAY = 12
_ATTEMPT = r"(?:\.\d+)*$"
#: `<outDS>.log.<task>.<serial>.log.tgz`: the logs of jobs, unlike outputs of the user whose names end in `.log.tgz`.
_LOG = re.compile(r"(?:^|\.)log\.\d+\.[^.]+\.(?:merge_)?log\.tgz" + _ATTEMPT)
_TAR = re.compile(r"\.(?:tgz|tar\.gz|tar)" + _ATTEMPT)
_ROOT = re.compile(r"\.root" + _ATTEMPT)
_COMPRESSED = re.compile(r"\.(?:gz|bz2|xz)" + _ATTEMPT)  # such files, put together, are one such file
_PROBE_BYTES = 1 << 16


class Group(NamedTuple):
    inputs: List[str]
    output: str


def parse(argv: List[str]) -> argparse.Namespace:
    """Read the arguments; raises TransformError naming every fault."""
    options = Options("runMerge", "Merges outputs of jobs; further arguments are groups in1,in2:out.")
    options.add_argument("-j", dest="script", default="", help="merge script, one word or with %%IN and %%OUT")
    options.add_argument("-r", dest="run_dir", default=".", help="directory inside the sandbox to run in")
    options.add_argument("-a", dest="sandbox", default="", help="sandbox archive below <sourceURL>/cache/")
    options.add_argument("-l", dest="library", default="", help="library archive in the job directory")
    options.add_argument("--sourceURL", dest="source_url", default="", help="server that keeps the sandbox")
    options.add_argument("--mergeSingleFile", dest="single", action="store_true", help="merge a single input too")
    options.accept("--useLocalIO", "--useAthenaPackages", "--useCMake", "--useRootCore", action="store_true")
    options.accept("--debug", "--noTarballDownload", action="store_true")
    options.accept("--rootVer", "--cmtConfig", "--overwriteQueuedata")
    given, words = options.read_some(argv)
    others = [word for word in words if word.startswith("-")]
    if others:
        say("arguments without meaning here, ignored: " + " ".join(others))
    faults = []  # type: List[str]
    given.groups = [_group(word, faults) for word in words if not word.startswith("-") and word.strip(", ")]
    taken = collections.Counter(group.output for group in given.groups)
    taken.update({name for group in given.groups for name in group.inputs})
    faults += [f"output {g.output} would overwrite another file" for g in given.groups if taken[g.output] > 1]
    if not given.groups:
        faults.append("nothing to merge: there is no argument of the form in1,in2:out")
    refuse(faults)
    return given


def _group(word: str, faults: List[str]) -> Group:
    names, _, output = word.rpartition(":")
    inputs = list(filter(None, names.split(",")))
    if not inputs:
        faults.append(f"{word!r} is not of the form in1,in2:out")
    faults += [f"{n!r} in {word[:200]!r} is not a plain file name" for n in [*inputs, output] if not is_plain_name(n)]
    return Group(inputs, output)


def merge_by_script(script: str, group: Group, run_dir: Path, job_dir: Path) -> int:
    """Let the user's script make the output; gives its exit code."""
    if len(script.split()) == 1:
        command = " ".join([script, "-o", *map(shlex.quote, [group.output, *group.inputs])])
    else:
        command = fill_in(script, {"IN": group.inputs, "OUT": [group.output]})
    say(f"merging in {run_dir}: {command}")
    code = run_command(["bash", "-c", command], run_dir, UserSecrets.read(job_dir).variables)
    made = run_dir / group.output
    if made.is_file():
        shutil.move(str(made), str(job_dir / group.output))
    elif code == 0:
        say(f"the merge script did not make {group.output}")
    return code


def merge_logs(group: Group, job_dir: Path) -> int:
    """Put whole logs in one tar."""
    with tarfile.open(str(job_dir / group.output), "w:gz") as tar:
        for name in group.inputs:
            tar.add(str((job_dir / name).resolve()), name)
    return 0


def merge_tars(group: Group, job_dir: Path) -> int:
    """Put the members of all tar files in one; if two have a name in common, each tar file gets a folder."""
    scratch = job_dir / "mergeDir"
    shutil.rmtree(str(scratch), ignore_errors=True)
    folders = [scratch / name for name in group.inputs]
    for folder in folders:
        folder.mkdir(parents=True)
        unpack(job_dir / folder.name, folder)
    files = [name for folder in folders for name in names_below(folder) if not (folder / name).is_dir()]
    pack(folders if len(files) == len(set(files)) else [scratch], job_dir / group.output)
    shutil.rmtree(str(scratch), ignore_errors=True)
    return 0


def merge_root(group: Group, job_dir: Path) -> int:
    """Merge trees and histograms by ROOT's own program; gives its exit code."""
    if not shutil.which("hadd"):
        raise TransformError(
            EXIT_NO_WAY, f"{group.output} needs hadd of ROOT, which is not on PATH here; or use --mergeScript"
        )
    return run_command(["hadd", group.output, *group.inputs], job_dir)


def merge_text(group: Group, job_dir: Path) -> int:
    """Put files one after the other."""
    for name in group.inputs:
        with (job_dir / name).open("rb") as source:
            if b"\0" in source.read(_PROBE_BYTES) and not _COMPRESSED.search(name):
                raise TransformError(
                    EXIT_NO_WAY, f"{name} is neither text, tar nor ROOT: merge such files with --mergeScript"
                )
    with (job_dir / group.output).open("wb") as sink:
        for name in group.inputs:
            with (job_dir / name).open("rb") as source:
                shutil.copyfileobj(source, sink, 1 << 20)
    return 0


def way_for(output: str) -> Callable[[Group, Path], int]:
    """Give the way to merge that the kind of an output asks for."""
    if _LOG.search(output):
        return merge_logs
    if _TAR.search(output):
        return merge_tars
    return merge_root if _ROOT.search(output) else merge_text


def merge(options: argparse.Namespace, group: Group, run_dir: Path, job_dir: Path) -> int:
    """Merge one group; gives the exit code of what did it. Raises TransformError."""
    is_log = way_for(group.output) is merge_logs
    if len(group.inputs) == 1 and not options.single and not is_log:
        shutil.copyfile(str(job_dir / group.inputs[0]), str(job_dir / group.output))
        code = 0
    elif options.script and not is_log:
        code = merge_by_script(options.script, group, run_dir, job_dir)
    else:
        code = way_for(group.output)(group, job_dir)
    say("{}: {} of {} files".format(group.output, "failed merge" if code else "merge", len(group.inputs)))
    return code


def transform(argv: List[str], job_dir: Path) -> int:
    """Do the whole work in a job directory; gives the exit code. Raises TransformError."""
    options = parse(argv)
    work_dir = job_dir / "workDir"
    shutil.rmtree(str(work_dir), ignore_errors=True)
    work_dir.mkdir()
    if options.script and options.library:
        unpack(job_dir / options.library, work_dir)
    elif options.script and options.sandbox:
        archive = job_dir / Path(options.sandbox).name
        fetch(options.source_url, archive.name, archive)
        unpack(archive, work_dir)
    run_dir = folder_below(work_dir, options.run_dir)
    link_inputs({"IN": [name for group in options.groups for name in group.inputs]}, job_dir, run_dir)
    for group in options.groups:
        code = merge(options, group, run_dir, job_dir)
        if code:
            return exit_code_of(code)
    shutil.rmtree(str(work_dir), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main_of("runMerge", transform))
