"""What a campaign works on: clients that submit small tasks over and over, and note what they were told."""

from __future__ import annotations

import random
import shlex
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ...client import Client, NewFile, TaskSpec, connect
from ...client.errors import BadReply, Refused, ServerUnreachable
from ...client.storage import measure
from ...client.transport import Transport
from ...core.errors import BambooError
from .history import History, Step

USER = "chaos"
DATASET = "user.chaos.inputs"
N_INPUTS = 6
#: As many as a client may ask for: no input is to be given up.
MAX_ATTEMPT = 50
#: Tasks of one client that are not over at a time.
OPEN_TASKS = 2
LOOK_SECONDS = 0.5
#: Clients in a campaign repeat nothing by themselves beyond this: what they do not know, they say.
REPEATS = 1
SERVER_ERROR = 500
PAYLOAD = Path(__file__).with_name("work.py")


def new_client(url: str) -> Client:
    return Client(Transport(url, connect(url, user=USER).transport.identity, repeats=REPEATS))


def register_inputs(client: Client, folder: Path) -> None:
    """Make the inputs and register them: each holds its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(N_INPUTS):
        path = folder / f"in{number}.txt"
        path.write_text(path.name)
        measured = measure(path)
        files.append(
            NewFile(
                url=path.resolve().as_uri(), lfn=path.name, size_bytes=measured.size_bytes, adler32=measured.adler32
            )
        )
    client.add_files(DATASET, files)


def task_spec(name: str, n_inputs: int, markers: Path, *, skip_scout: bool) -> TaskSpec:
    """A task whose jobs take an input each, and leave their marks in a folder."""
    command = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(PAYLOAD))} %IN {shlex.quote(str(markers))}"
    return TaskSpec(
        exec=command,
        out_ds=name,
        in_ds=(DATASET,),
        outputs=("n.txt",),
        n_files=n_inputs,
        n_files_per_job=1,
        max_attempt=MAX_ATTEMPT,
        skip_scout=skip_scout,
        no_separate_log=True,
    )


class Submitter(threading.Thread):
    """One client: keeps a few tasks going until it is told to stop."""

    def __init__(self, number: int, url: str, markers: Path, history: History, seed: int) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._number = number
        self._client = new_client(url)
        self._markers = markers
        self._history = history
        self._rng = random.Random(f"{seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
        self._halt = threading.Event()
        self._open: set[int] = set()
        self._n_sent = 0

    def halt(self) -> None:
        """Submit nothing more."""
        self._halt.set()

    def run(self) -> None:
        while not self._halt.is_set():
            with suppress(BambooError):
                self._open = {task for task in self._open if not self._client.task_info(task).is_over}
            if len(self._open) < OPEN_TASKS:
                self._submit()
            self._halt.wait(LOOK_SECONDS)

    def _submit(self) -> None:
        self._n_sent += 1
        n_inputs = self._rng.randint(2, N_INPUTS)
        name = f"user.{USER}.c{self._number}.n{self._n_sent}"
        spec = task_spec(name, n_inputs, self._markers, skip_scout=self._rng.random() < 0.5)
        name = f"{name}/"
        self._history.note(Step.INVOKE, name, n_inputs)
        try:
            task = self._client.submit(spec)
        except Refused as error:
            # An error of the server's own says nothing about what it did before.
            step = Step.UNKNOWN if error.status >= SERVER_ERROR else Step.FAIL
            self._history.note(step, name, n_inputs, told=f"HTTP {error.status}: {error}")
        except (ServerUnreachable, BadReply) as error:
            self._history.note(Step.UNKNOWN, name, n_inputs, told=str(error))
        else:
            self._history.note(Step.OK, name, n_inputs, task_id=task.task_id)
            self._open.add(task.task_id)


def halt_all(submitters: Iterable[Submitter]) -> None:
    """Have clients submit nothing more, and wait until what they are at is answered."""
    waiting = list(submitters)
    for submitter in waiting:
        submitter.halt()
    for submitter in waiting:
        submitter.join()
