"""What users do, as options of prun, and what must have come of it: the same for both clients and both pilots.

Every scenario is declared here once; `corners` says where it is run.
"""

from __future__ import annotations

import tarfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from systems import RunningSystem

from bamboo.admin.system import STORAGE
from bamboo.client import Client, NewFile, Task, connect
from bamboo.core.clock import utc_now
from bamboo.core.states import JOBS
from bamboo.pilot.queue_data import rucio_path
from bamboo.sql import datasets, queues
from bamboo.sql import tables as t

IN_DS = "user.alice.numbers"
N_INPUTS = 5
WORDS = {f"number{n}.txt": f"the number {n}\n" * n for n in range(1, N_INPUTS + 1)}
#: A program that is made by `make` in the build job, from a source that the jobs do not get.
MAKEFILE = "count: count.sh.in\n\tsed s/THING/lines/ $< > $@\n\tchmod +x $@\n\trm $<\n"
COUNT = "#!/bin/sh\necho THING $(cat $(echo $1 | tr , ' ') | wc -l)\n"
MERGE = '#!/bin/sh\nshift; out=$1; shift\n{ echo "$# files"; sort "$@"; } > "$out"\n'


#: The payload's first run lasts until somebody ends it, the second is short. SEEN is a path that tells them apart.
FIRST_STAYS = "test -e SEEN || { touch SEEN; sleep 611; }; echo again > x.txt"
STAYS = "sleep 612"


@dataclass(frozen=True)
class Scenario:
    """A task. `makes` has the expected contents of the output datasets, which are named by what follows outDS."""

    name: str
    options: tuple[str, ...]
    makes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: What lies in the folder where the client is called.
    sandbox: Mapping[str, str] = field(default_factory=dict)
    #: How many finished jobs of each kind.
    jobs: Mapping[str, int] = field(default_factory=lambda: {"run": 1})
    #: Statuses of the run jobs that did not finish.
    others: tuple[str, ...] = ()
    ends: str = "done"
    #: What happens while the payload runs: the user kills the task, or the pilot's machine vanishes.
    disturbed: Literal["", "kill", "lose"] = ""
    #: What users must have kept before: names and values, names and files.
    secrets: Mapping[str, str] = field(default_factory=dict)
    secret_files: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[object, ...] = ()
    #: The task that makes the inputs: its id stands for PARENT_ID, its outDS for PARENT_DS.
    parent: Scenario | None = None

    def lay_out(self, folder: Path, storage: Path) -> None:
        """Write the files of the sandbox; STORAGE in them is where the inputs are."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.sandbox.items():
            (folder / name).write_text(text.replace("STORAGE", str(storage)))
            (folder / name).chmod(0o755)

    def jobs_by(self, client: str) -> dict[str, int]:
        """Our client has nothing built when there is nothing to build; PanDA's has, unless it is told otherwise."""
        is_built = "--bexec" in self.options or client == "pandas"
        return {kind: number for kind, number in self.jobs.items() if kind != "build" or is_built}


def _lines(n: int) -> str:
    return f"lines {sum(range(1, N_INPUTS + 1)) if n == N_INPUTS else n}\n"


def _place(name: str) -> str:
    """Where an input is below the storage."""
    return rucio_path("user.alice", name)


#: The task of the scenario `secondary` has two jobs, of four and of one main input.
FIRST_FOUR = tuple(WORDS)[:4]

PARENT = Scenario(
    "parent",
    ("--exec", "echo parent %RNDM:1 > x.txt", "--nJobs", "2", "--outputs", "x.txt", "--noBuild"),
    {"_x.txt": ["parent 2\n", "parent 3\n"]},
    jobs={"run": 2},
)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "killed",
            ("--exec", STAYS, "--outputs", "x.txt", "--noBuild"),
            {"_x.txt": []},
            jobs={},
            others=("cancelled",),
            ends="aborted",
            disturbed="kill",
        ),
        Scenario(
            "fails",
            ("--exec", "echo something is wrong; exit 3", "--outputs", "x.txt", "--noBuild", "--maxAttempt", "1"),
            {"_x.txt": []},
            jobs={},
            others=("failed",),
            ends="failed",
        ),
        Scenario(
            "lost",
            ("--exec", FIRST_STAYS, "--outputs", "x.txt", "--noBuild"),
            {"_x.txt": ["again\n"]},
            others=("failed",),
            disturbed="lose",
        ),
        Scenario(
            "hello",  # as everybody types it first: with a build job, though there is nothing to build
            ("--exec", "echo hello > x.txt", "--nJobs", "3", "--outputs", "x.txt"),
            {"_x.txt": ["hello\n"] * 3},
            jobs={"build": 1, "run": 3},
        ),
        Scenario(
            "nobuild",
            ("--exec", "sh work.sh %RNDM:100 > x.txt", "--nJobs", "3", "--outputs", "x.txt", "--noBuild"),
            {"_x.txt": ["number 101\n", "number 102\n", "number 103\n"]},
            {"work.sh": "echo number $1\n"},
            jobs={"run": 3},
        ),
        Scenario(
            "inds",
            (
                *("--exec", "cat $(echo %IN | tr , ' ') > all.txt; echo %IN > names.txt", "--inDS", IN_DS),
                *("--nFilesPerJob", "2", "--outputs", "all.txt,names.txt", "--noBuild"),
            ),
            {
                "_all.txt": [
                    WORDS["number1.txt"] + WORDS["number2.txt"],
                    WORDS["number3.txt"] + WORDS["number4.txt"],
                    WORDS["number5.txt"],
                ],
                "_names.txt": ["number1.txt,number2.txt\n", "number3.txt,number4.txt\n", "number5.txt\n"],
            },
            jobs={"run": 3},
        ),
        Scenario(
            "bexec",
            (
                *("--exec", "count %IN > n.txt", "--bexec", "make", "--inDS", IN_DS),
                *("--nFilesPerJob", str(N_INPUTS), "--outputs", "n.txt"),
            ),
            {"_n.txt": [_lines(N_INPUTS)]},
            {"Makefile": MAKEFILE, "count.sh.in": COUNT},
            jobs={"build": 1, "run": 1},
        ),
        Scenario(
            "merge",
            ("--exec", "echo hello > x.txt", "--nJobs", "3", "--outputs", "x.txt", "--noBuild", "--mergeOutput"),
            {"_x.txt": ["hello\n" * 3]},
            jobs={"run": 3, "merge": 1},
        ),
        Scenario(
            "mergescript",
            (
                *("--exec", "echo %RNDM:1 > x.txt", "--nJobs", "2", "--outputs", "x.txt", "--noBuild"),
                *("--mergeOutput", "--mergeScript", "merge.sh"),
            ),
            {"_x.txt": ["2 files\n2\n3\n"]},
            {"merge.sh": MERGE},
            jobs={"run": 2, "merge": 1},
        ),
        Scenario(
            "child",
            (
                *("--exec", "cat $(echo %IN | tr , ' ') > y.txt", "--inDS", "PARENT_DS_x.txt/", "--outputs", "y.txt"),
                *("--noBuild", "--parentTaskID", "PARENT_ID", "--nFilesPerJob", "2"),
            ),
            {"_y.txt": ["parent 2\nparent 3\n"]},
            parent=PARENT,
        ),
        Scenario(
            "secrets",
            (
                *("--exec", "echo $PASSWORD > x.txt; cat key.pem >> x.txt", "--outputs", "x.txt"),
                *("--noBuild", "--useSecrets"),
            ),
            {"_x.txt": ["open sesame\nthe key\n"]},
            {"the.key": "the key\n"},
            secrets={"PASSWORD": "open sesame"},
            secret_files={"key.pem": "the.key"},
        ),
        Scenario(
            "metadata",
            (
                *("--exec", "echo '{\"answer\": 42}' > userJobMetadata.json; echo x > x.txt"),
                *("--outputs", "x.txt", "--noBuild"),
            ),
            {"_x.txt": ["x\n"]},
            metadata=({"answer": 42},),
        ),
        Scenario(
            "wildcard",
            ("--exec", "echo a > a.dat; echo b > b.dat; echo c > c", "--outputs", "*.dat,c", "--noBuild"),
            {"_c": ["c\n"], "_XYZ.dat.tgz": ["a.dat: a\n, b.dat: b\n"]},
        ),
        Scenario(
            "choice",
            (
                *("--exec", "echo %IN > names.txt", "--inDS", IN_DS, "--match", "*[1-4].txt", "--antiMatch", "*2.txt"),
                *("--nSkipFiles", "1", "--nFiles", "1", "--outputs", "names.txt", "--noBuild"),
            ),
            {"_names.txt": ["number3.txt\n"]},
        ),
        Scenario(
            "secondary",  # the same files in two streams, and an output by pattern
            (
                *("--exec", "echo %IN %IN2 > x.txt; cat number?.txt >> x.txt; echo a > d1; echo b > d2; echo c > e"),
                *("--inDS", IN_DS, "--secondaryDSs", f"IN2:2:{IN_DS}", "--nFilesPerJob", "4"),
                *("--outputs", r"x.txt,regex|d\d", "--noBuild"),
            ),
            {
                "_x.txt": [
                    f"{','.join(FIRST_FOUR)} number1.txt,number2.txt\n" + "".join(map(WORDS.__getitem__, FIRST_FOUR)),
                    "number5.txt number3.txt,number4.txt\n" + "".join(WORDS[f"number{n}.txt"] for n in (3, 4, 5)),
                ],
                "_0": ["d1: a\n, d2: b\n"] * 2,
            },
            jobs={"run": 2},
        ),
        Scenario(
            "addresses",  # of files that the command opens by itself; and what pilots are told of a job from its start
            (
                *("--exec", "cat %IN > x.txt", "--pfnList", "list", "--nFilesPerJob", "1", "--outputs", "x.txt"),
                *("--noBuild", "--noLoopingCheck", "--debugMode"),
            ),
            {"_x.txt": [WORDS["number1.txt"], WORDS["number2.txt"]]},
            {"list": "".join(f"STORAGE/{_place(name)}\n" for name in ("number1.txt", "number2.txt"))},
            jobs={"run": 2},
        ),
    )
}


def _text_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read().decode()


def _members(path: Path) -> str:
    """The plain files in a tarball with what they have in them."""
    with tarfile.open(path) as tar:
        files = sorted((member for member in tar if member.isfile()), key=lambda member: member.name)
        return ", ".join(f"{Path(file.name).name}: {_text_of(tar, file)}" for file in files)


@dataclass
class Site:
    """A running system with its database, and alice who uses it."""

    system: RunningSystem
    engine: sa.Engine
    token: str

    @property
    def storage(self) -> Path:
        return self.system.folder / "state" / "storage"

    @property
    def client(self) -> Client:
        """Our own client, as alice."""
        return connect(self.system.url, token=self.token)

    def register_inputs(self) -> None:
        """Put real files where PanDA's pilot looks for them: below the storage, by Rucio's rule for paths."""
        new = []
        for name, text in WORDS.items():
            path = self.storage / rucio_path("user.alice", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            checksum = f"{zlib.adler32(text.encode()):08x}"
            new.append(NewFile(url=f"file://localhost{path}", lfn=name, size_bytes=len(text), adler32=checksum))
        self.client.add_files(IN_DS, new)

    def add_queue(self, name: str) -> None:
        """A queue at a site of its own, which writes where the queue of `bamboo up` does."""
        with self.engine.begin() as tx:
            queues.set_queue(tx, name, {"site": name, "storage": STORAGE}, now=utc_now())

    def end_of(self, task: int, seconds: float = 120) -> str:
        """How a task ends."""
        return Task(self.client, task).wait(timeout_seconds=seconds).status

    def contents(self, dataset: str) -> list[str]:
        """What the registered files of a dataset have in them, sorted; each as large as registered, and undamaged."""
        found = []
        for file in self.client.files(dataset):
            path = Path(file.url.removeprefix("file://localhost"))
            data = path.read_bytes()
            assert (len(data), f"{zlib.adler32(data):08x}") == (file.size_bytes, file.adler32), file
            found.append(_members(path) if file.lfn.endswith(".tgz") else data.decode())
        return sorted(found)

    def logs(self, dataset: str) -> list[set[str]]:
        """The names in each log tarball of a dataset."""
        names = []
        for file in self.client.files(dataset):
            with tarfile.open(Path(file.url.removeprefix("file://localhost"))) as tar:
                names.append({Path(name).name for name in tar.getnames()})
        return names

    def check(self, scenario: Scenario, task: int, out_ds: str, client: str = "pandas") -> None:
        """All that must hold of a task that is over: outputs, jobs and their logs, and books."""
        assert Task(self.client, task).wait(timeout_seconds=1).status == scenario.ends
        for suffix, texts in scenario.makes.items():
            assert self.contents(out_ds + suffix) == sorted(texts), suffix
        kinds = self.check_books(task)
        assert kinds == scenario.jobs_by(client)
        others = [job for job in Task(self.client, task).jobs() if job.status != "finished"]
        assert sorted(job.status for job in others) == sorted(scenario.others)
        logs = self.logs(f"{out_ds}.log")
        n_vanished = scenario.disturbed == "lose"  # who has vanished sends no log
        assert len(logs) == sum(kinds.values()) + len(others) - n_vanished
        assert all("payload.stdout" in names for names in logs), logs

    def check_books(self, task: int) -> dict[str, int]:
        """Counters right, each input counted once, all jobs over; returns how many finished of each kind."""
        once = (
            sa.select(t.job_files.c.fileid)
            .join(t.jobs, t.jobs.c.pandaid == t.job_files.c.pandaid)
            .where(t.jobs.c.jeditaskid == task, t.jobs.c.kind == "run", t.jobs.c.status == "finished")
            .where(t.job_files.c.type.in_(["input", "pseudo_input"]), t.job_files.c.fileid.is_not(None))
        )
        mine = sa.select(t.jobs.c.kind, t.jobs.c.status).where(t.jobs.c.jeditaskid == task)
        with self.engine.connect() as tx:
            assert datasets.recount(tx, task) == {}
            counted = tx.scalars(once).all()
            rows = tx.execute(mine).all()
        assert len(counted) == len(set(counted))
        assert {row.status for row in rows} <= JOBS.final
        return dict(Counter(row.kind for row in rows if row.status == "finished"))
