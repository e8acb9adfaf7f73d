"""One job without a server: what `bamboo job reproduce` puts into a folder runs by this, as it did on the grid.

The code is the pilot's own: inputs are brought in and checked, command and environment are built, the payload is run
and judged as for a job. There is no lease, nothing is reported, and outputs stay where they are made. The folder has
`job.json` (the job's definition), `files/` (transformation and sandbox), `inputs/`, and here comes `work/`.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.checksums import adler32
from ..core.process import become_subreaper
from . import processes
from .copytools import Guard
from .errors import Cancelled, Code, PilotError
from .event_workflow import EventWorkflow
from .job import Job
from .job_spec import SECRET_FILES, JobSpec, text
from .keeper import fork_keeper
from .lease import Lease, boot_seconds
from .logs import set_up
from .options import parse
from .payload_command import Transformations
from .payload_control import PayloadControl
from .payload_process import PayloadKeeper
from .pilot import server_transport
from .queue_data import QueueData, Storages
from .report import Reporter
from .server_calls import ServerCalls
from .slot import Slot
from .stage_in import stage_in
from .stage_out import made

NOBODY = "http://127.0.0.1:9"  # there is no server, and nobody is asked
INTERRUPTED = 130
LONG_SECONDS = 20 * 86400.0  # what stands for no end: more than this the keeper's waits cannot hold


@dataclass(frozen=True)
class MadeOutput:
    """An output as it was made here, beside what is on record of the job's own; empty where there is none."""

    lfn: str
    checksum: str
    recorded: str

    @property
    def verdict(self) -> str:
        if not self.checksum:
            return "not made here" + ("" if self.recorded else ", and none of the job's is on record")
        if not self.recorded:
            return f"made here ({self.checksum}), none of the job's is on record"
        return "the same" if self.checksum == self.recorded else f"differs: {self.checksum} here, {self.recorded} then"


def main(folder: Path) -> int:
    """Run the job of a folder and tell how it ended; gives 0 if all went well, else the payload's exit code, or 1."""
    wire = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "work").mkdir()
    become_subreaper()
    keeper = PayloadKeeper(*fork_keeper())
    set_up(folder / "pilot.log", debug=False)
    try:
        job = run(wire, folder, keeper)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\n")
        return INTERRUPTED
    finally:
        keeper.close()
        processes.kill_descendants(within_seconds=3.0)
    outputs = [made_output(job, lfn, recorded) for lfn, recorded in (wire.get("recordedOutputs") or {}).items()]
    _tell(job, text(wire.get("recordedEnd")), outputs)
    result = {
        "failure": None if job.failure is None else {"code": int(job.failure.code), "diag": job.failure.diag},
        "exit_code": job.payload_exit,
        "outputs": {output.lfn: output.verdict for output in outputs},
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if job.failure is None else job.payload_exit or 1


def run(wire: Mapping[str, Any], folder: Path, keeper: PayloadKeeper) -> Job:
    """Run the job of a definition in `work/` below a folder; what goes wrong is the job's failure."""
    queue_name = text(wire.get("computingSite")) or "OFFLINE"
    slot = _slot(queue_name, folder, keeper)
    spec = JobSpec.parse(wire)
    spec = replace(spec, inputs=tuple(replace(file, url=_here(folder, file.lfn) or file.url) for file in spec.inputs))
    job = Job(spec, folder / "work", Lease(LONG_SECONDS, 1.0, boot_seconds()))
    for path in (*(folder / "files").iterdir(), folder / SECRET_FILES[0]):
        if path.is_file():
            shutil.copyfile(path, job.directory / path.name)
    try:
        if spec.event_service:
            raise PilotError(Code.NOT_IMPLEMENTED, "the ranges of an event service job are handed out by the server")
        stage_in(job, slot, Guard(job.check, lambda: None, "offline"))
    except PilotError as error:
        job.fail(error.code, error.diag)
        return job
    except Cancelled:
        return job
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    transformations = Transformations(slot.server, folder / "transformations", [spec.transformation])
    ranges = EventWorkflow(slot, Reporter(slot))
    PayloadControl(events, slot, transformations, ranges, lambda job: None, lambda job: None).handle(job)
    if job.failure is None and not job.interrupted.is_set():
        try:
            made(job)
        except PilotError as error:
            job.fail(error.code, error.diag)
    return job


def _slot(queue_name: str, folder: Path, keeper: PayloadKeeper) -> Slot:
    options: argparse.Namespace = parse(["-q", queue_name, "--url", NOBODY])
    queue_data = QueueData.parse({"nickname": queue_name}, queue_name)
    return Slot(options, folder, queue_data, Storages({}), ServerCalls(server_transport(options)), keeper)


def _here(folder: Path, lfn: str) -> str:
    """The address of an input that is in the folder."""
    path = folder / "inputs" / lfn
    return path.absolute().as_uri() if path.is_file() else ""


def made_output(job: Job, lfn: str, recorded: str) -> MadeOutput:
    """Look for an output in the work directory."""
    path = job.directory / lfn
    return MadeOutput(lfn, f"ad:{adler32(path, lambda: None)}" if path.is_file() else "", recorded)


def _tell(job: Job, recorded_end: str, outputs: list[MadeOutput]) -> None:
    _say(f"the job ended: {recorded_end or 'not yet'}")
    _say("here it ended: " + (f"failed: {job.failure.diag}" if job.failure else "well"))
    _say(f"what it printed: {job.stdout_path}, {job.stderr_path}")
    for output in outputs:
        _say(f"output {output.lfn}: {output.verdict}")


def _say(line: str) -> None:
    """Print a line without what a terminal would obey: parts of it are the payload's words."""
    sys.stdout.write("".join(letter if letter.isprintable() else " " for letter in line) + "\n")
