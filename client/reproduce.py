"""A folder that runs the payload of a job here: its definition, its files, its inputs, and the pilot's own code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..core.errors import BambooError, Fault, Invalid
from .api import Client
from .errors import NoSuchFile
from .model import FileInfo, JobInfo
from .storage import fetch, pour, reading, safe_name

#: Names of sandboxes, as clients give them; jobs name them in their command lines.
SANDBOX = re.compile(r"\b(?:sources|jobO)\.[\w.-]+")
RUN = '''#!/usr/bin/env python3
"""Runs the job in this folder as a pilot would; see README.txt."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER / "pilot.pyz"))

from bamboo.pilot.offline import main  # noqa: E402

sys.exit(main(FOLDER))
'''


@dataclass
class Bundle:
    """What was made: the folder, and what could not be brought into it, in words."""

    folder: Path
    missing: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        """What runs the job."""
        return [sys.executable, str(self.folder / "run.py")]

    def pack(self) -> Path:
        """The folder as one archive beside it."""
        target = self.folder.with_name(f"{self.folder.name}.tar.gz")
        with tarfile.open(target, "w:gz") as archive:
            archive.add(self.folder, self.folder.name, filter=_without_results)
        return target


def make_bundle(client: Client, job_id: int, parent: Path, *, with_inputs: bool = True) -> Bundle:
    """Make `job-ID/` below a folder; what was made there before is made again.

    Without inputs they stay at their addresses, and are looked for there. Raises `Refused` for a job of somebody else,
    and `Invalid` for a folder that is something else.
    """
    job, wire = client.job(job_id), client.definition(job_id)
    bundle = Bundle(parent / f"job-{job_id}")
    if bundle.folder.exists() and not (bundle.folder / "job.json").is_file():
        fault = Fault(str(bundle.folder), "is there, and was not made from a job", "remove it, or name another --dest")
        raise Invalid("the job cannot be reproduced there", [fault])
    for name in ("files", "inputs"):
        shutil.rmtree(bundle.folder / name, ignore_errors=True)
        (bundle.folder / name).mkdir(parents=True)
    wire = _with_own_files(client, wire, bundle)
    inputs = [file for file in job.files if file.type == "input"]
    for file in inputs if with_inputs else ():
        _bring(file, bundle)
    outputs = [file for file in job.files if file.type not in ("input", "pseudo_input", "log")]
    recorded = {file.lfn: _checksum(file) for file in outputs}
    wire |= {"recordedEnd": end_of(job), "recordedOutputs": recorded}
    (bundle.folder / "job.json").write_text(json.dumps(wire, indent=1) + "\n", encoding="utf-8")
    (bundle.folder / "run.py").write_text(RUN, encoding="utf-8")
    (bundle.folder / "README.txt").write_text(readme(job, wire, bundle), encoding="utf-8")
    build = [sys.executable, "-m", "bamboo.pilot.build", str(bundle.folder / "pilot.pyz")]
    subprocess.run(build, check=True)
    return bundle


def _with_own_files(client: Client, wire: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
    """The definition with the server's transformations by their plain names; they and sandboxes are fetched."""
    text = json.dumps(wire)
    for url in sorted(set(re.findall(r'https?://[^\s"\\]+/trf/[^\s"\\]+', text)), key=len, reverse=True):
        name = safe_name(urlsplit(url).path.rpartition("/")[2])
        if _fetched(client, urlsplit(url).path, bundle.folder / "files" / name):
            text = text.replace(url, name)
        else:
            bundle.missing.append(f"the transformation {url} cannot be had")
    for name in sorted(set(SANDBOX.findall(str(wire.get("jobPars") or "")))):
        if not _fetched(client, f"/cache/{quote(name)}", bundle.folder / "files" / safe_name(name)):
            bundle.missing.append(f"the sandbox {name} is not on the server any more")
    return dict(json.loads(text))


def _fetched(client: Client, path: str, target: Path) -> bool:
    try:
        with reading(f"{client.transport.url}{path}") as source, target.open("wb") as stream:
            pour(source, stream.write)
    except NoSuchFile:
        target.unlink(missing_ok=True)
        return False
    return True


def _bring(file: FileInfo, bundle: Bundle) -> None:
    """Copy an input, verified; one that cannot be had is looked for at its address when the job runs."""
    try:
        fetch(file, bundle.folder / "inputs")
    except BambooError as error:
        bundle.missing.append(f"input {file.lfn}: {error.message}")


def _checksum(file: FileInfo) -> str:
    return f"ad:{file.adler32}" if file.adler32 and file.status == "finished" else ""


def end_of(job: JobInfo) -> str:
    """How a job ended: its state and its errors."""
    return ": ".join(filter(None, (job.status, "; ".join(map(str, job.causes)))))


def readme(job: JobInfo, wire: Mapping[str, Any], bundle: Bundle) -> str:
    """What is in the folder, and in what a run here differs from the job's."""
    image = str(wire.get("container_name") or "")
    differences = [
        f"this machine is not {job.node or 'the one'} at {job.queue}: other processor, software, variables and clock",
        "nobody holds it to its limits of memory, time and disk (bamboo job show says what it asked for)",
        "nothing is reported, and outputs stay in work/",
    ]
    if image:
        differences.append(f"the image {image} must be had here, and apptainer to run it")
    if wire.get("usesSecrets"):
        differences.append("the secrets are not in here: write them to panda_secrets.json if it needs them")
    if wire.get("eventService"):
        differences.append("its event ranges are handed out by the server, so that it cannot run here")
    lines = [
        f"Job {job.job_id} of task {job.task_id}, attempt {job.attempt_nr}: {end_of(job)}",
        "",
        "    python3 run.py        runs it again, with nothing but Python 3.9 or newer, in work/",
        "",
        "job.json     the definition that its pilot got, without secrets",
        "files/       the transformation that wraps the payload, and the sandbox",
        "inputs/      its inputs; those that are not here are looked for at their addresses in job.json",
        "pilot.pyz    the pilot, whose own code checks the inputs, builds the command and judges the payload",
        "result.json  how it ended here, and which outputs have the checksums of the job's own",
        "",
        "In what it differs from the run of the job:",
        *(f"* {line}" for line in (*differences, *bundle.missing)),
    ]
    return "\n".join(lines) + "\n"


def _without_results(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = member.name.partition("/")[2]
    is_result = name in ("result.json", "pilot.log", "panda_secrets.json") or name.partition("/")[0] == "work"
    return None if is_result else member
