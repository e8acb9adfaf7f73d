"""A job's outputs: brought from where the command made them to the job directory, under the names the pilot expects."""

import glob
import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

from .toolbox import fresh, is_plain_name, say

METADATA_BYTES = 1 << 20
_REGEX = "regex|"


def faults_of_outputs(outputs: Dict[Any, Any]) -> List[str]:
    """List what is wrong with the table of `-o`."""
    faults = []
    for local, lfn in outputs.items():
        if not isinstance(local, str) or not local:
            faults.append(f"-o: {local!r} is not the name of a file")
        elif not is_plain_name(lfn) and not str(lfn).startswith(_REGEX):
            faults.append(f"-o: {lfn!r} is not a plain file name")
        elif local.startswith(_REGEX):
            try:
                re.compile(local[len(_REGEX) :])
            except re.error as error:
                faults.append(f"-o: {local!r} is not a regular expression: {error}")
    return faults


def plain_outputs(outputs: Dict[str, str]) -> List[str]:
    """List the local names that are no patterns: what `%OUT` stands for."""
    return [name for name in outputs if "*" not in name and not name.startswith(_REGEX)]


def with_real_names(command: str, outputs: Dict[str, str]) -> str:
    """Put file names in the place of local names, where these are whole words: in `x.txt`, but not in `in/x.txt`."""
    if not outputs:
        return command
    longest_first = "|".join(re.escape(local) for local in sorted(outputs, key=len, reverse=True))
    word = rf"(?<![\w./-])(?:\./)?({longest_first})(?![\w./-])"
    return re.sub(word, lambda found: outputs[found[1]], command)


def made_under_real_names(outputs: Dict[str, str], run_dir: Path) -> Dict[str, str]:
    """Map outputs from the names that they have in the run directory, which may be their file names already."""
    return {lfn if (run_dir / lfn).is_file() else local: lfn for local, lfn in outputs.items()}


def collect_outputs(
    outputs: Dict[str, str], optional: Iterable[str], inputs: Iterable[str], run_dir: Path, job_dir: Path
) -> None:
    """Move outputs to the job directory under their file names; `*` and `regex|` gather all matches in a tar.gz.

    A `regex|` output whose file name is a `regex|` too has no name of its own: its matches keep theirs. No pattern
    takes the job's inputs.
    """
    may_be_missing, not_ours = set(optional), set(inputs)
    for local, lfn in outputs.items():
        matches = [path for path in _matches(local, run_dir) if path.name not in not_ours]
        if not matches:
            expected = "as it may be" if lfn in may_be_missing else "the job needs it as " + lfn
            say(f"output {local} was not made: {expected}")
        elif lfn.startswith(_REGEX):
            for path in matches:
                _move(path, job_dir / path.name)
        elif "*" in local or local.startswith(_REGEX):
            _gather(matches, job_dir / lfn, run_dir)
        else:
            _move(matches[0], job_dir / lfn)


def _matches(local: str, run_dir: Path) -> List[Path]:
    """Find what the local name of an output means: one file, or all that a pattern matches."""
    if local.startswith(_REGEX):
        pattern = re.compile(local[len(_REGEX) :])
        return sorted(path for path in run_dir.iterdir() if pattern.fullmatch(path.name) and path.is_file())
    if "*" in local:
        # Like a shell, and unlike Path.glob: hidden files do not match, and no pattern is an error.
        found = glob.glob(f"{glob.escape(str(run_dir))}/{local}")  # noqa: PTH207
        return [path for path in map(Path, sorted(found)) if path.exists()]
    return [run_dir / local] if (run_dir / local).is_file() else []


def _move(source: Path, target: Path) -> None:
    if source.is_symlink():  # what it leads to may go away with the work directory
        shutil.copyfile(str(source), str(fresh(target)))
    elif source.resolve() != target.resolve():
        shutil.move(str(source), str(target))


def _gather(matches: List[Path], target: Path, run_dir: Path) -> None:
    with tarfile.open(str(fresh(target)), "w:gz") as tar:
        for match in matches:
            content = match.resolve() if match.is_symlink() else match
            tar.add(str(content), os.path.relpath(str(match), str(run_dir)))


def collect_metadata(run_dir: Path, job_dir: Path) -> None:
    """Bring jobReport.json to the job directory, with userJobMetadata.json as its `user_job_metadata`."""
    report = _json_object(run_dir / "jobReport.json")
    user = _json_object(run_dir / "userJobMetadata.json")
    if user is not None:
        report = {**(report or {}), "user_job_metadata": user}
    if report is not None:
        fresh(job_dir / "jobReport.json").write_text(json.dumps(report))


def _json_object(path: Path) -> Optional[Dict[str, Any]]:
    """Read a JSON object; says why when there is a file that cannot be used."""
    if not path.is_file():
        return None
    if path.stat().st_size > METADATA_BYTES:
        say(f"{path.name} has more than 1 MB and is ignored")
        return None
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        say(f"{path.name} is not JSON and is ignored: {error}")
        return None
    if isinstance(value, dict):
        return value
    say(f"{path.name} is not a JSON object and is ignored")
    return None
