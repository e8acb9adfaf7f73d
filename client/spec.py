"""What a user asks for: one command over inputs, as `bamboo run` and the Python API take it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

from ..core.errors import Fault, Invalid
from .command_words import command_faults, unfilled
from .naming import out_ds_faults, output_faults
from .secondary import Secondary, secondary_faults

MOST_ATTEMPTS = 50
TRANSFER_TYPES = frozenset({"root", "direct", "davs", "file"})


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task to submit. The names are prun's; None means that the server decides (manual ch. 4.1.2)."""

    exec: str  #: the command of every job; %IN stands for its inputs, %RNDM:n for a number counting up from n + 1
    out_ds: str = ""  #: base name of the output datasets and name of the task; empty for a random one
    in_ds: tuple[str, ...] = ()  #: datasets to process; none for a task without input
    outputs: tuple[str, ...] = ()  #: files each job produces: `x.txt`, `LABEL:x.txt`, `*.log`, `regex|pattern`
    n_jobs: int | None = None
    n_files: int | None = None
    n_files_per_job: int | None = None
    n_gb_per_job: int | None = None
    n_events: int | None = None
    n_events_per_job: int | None = None
    n_events_per_file: int | None = None
    n_events_per_worker: int | None = None  #: events of a range: makes it a task of the event service (docs/events.md)
    n_skip_files: int | None = None  #: leave out the first files of the input
    match: tuple[str, ...] = ()  #: only inputs whose whole names match one of these: `*` any text, `?` any character
    anti_match: tuple[str, ...] = ()  #: no inputs with such names
    input_files: tuple[str, ...] = ()  #: only inputs of these names
    skip_empty_input: bool = False  #: pass over inputs without events
    not_expand_in_ds: bool = False  #: a job may read files of several constituents of a container
    use_log_as_input: bool = False  #: log archives are inputs too
    secondary_dss: tuple[Secondary, ...] = ()  #: datasets of which each job gets files beside its main inputs
    not_expand_sec_dss: bool = False  #: the same as `not_expand_in_ds` for these
    use_num_files_in_sec_dss_as_ratio: bool = False  #: their `n_files` is for each main input, not for each job
    pfn_list: tuple[str, ...] = ()  #: addresses that go to the command as they are, in place of datasets
    skip_files_used_by: tuple[str, ...] = ()  #: tasks, by id or name, whose processed inputs are left out
    db_release: str = ""  #: DATASET:FILE, or LATEST: each job gets the one file of it
    respect_lb: bool = False  #: keep luminosity blocks together
    max_n_files_per_job: int = 200
    max_attempt: int | None = None
    memory_mb: int | None = None  #: per core
    max_walltime_hours: int | None = None
    n_core: int | None = None
    max_core: int | None = None
    cpu_time_per_event: int | None = None  #: HS06 seconds
    fixed_cpu_time: bool = False  #: scouts shall not correct it
    out_disk_count: int | None = None  #: kB of output for each MB of input
    site: tuple[str, ...] = ()
    excluded_site: tuple[str, ...] = ()
    priority: int | None = None
    vo: str = "bamboo"
    write_input_to_txt: str = ""  #: `IN:list.txt`: the job writes the names of its inputs there
    exec_with_real_file_names: bool = False  #: in the command, outputs have the names that they are kept under
    use_secrets: bool = False  #: the jobs get your secrets: see `bamboo secret`
    bexec: str = ""  #: run once at each queue before the jobs, in the sandbox; the jobs get the folder as it left it
    no_build: bool = False  #: no build job, which is the default without `bexec` and `no_compile`
    no_compile: bool = False  #: have the sandbox brought by a build job, which may be larger, with what it has built
    merge_output: bool = False  #: put the outputs of several jobs together, in jobs of their own
    merge_script: str = ""  #: one word, called with `-o OUT IN…`; or a command with %IN and %OUT
    merge_log: bool = False
    merge_single_file: bool = False  #: call the script for single files too
    n_gb_per_merge_job: int | None = None
    container_image: str = ""  #: the image that the command runs in, such as docker://alpine:3
    architecture: str = ""  #: the platform that the jobs need
    parent_task_id: int | None = None  #: the task whose outputs are the inputs: this one waits for it
    allow_no_output: tuple[str, ...] = ()  #: regular expressions on the ends of output names: these may be missing
    add_nth_field_of_in_ds_to_lfn: str = ""  #: `2,3`: these fields of the input's name go into the names of outputs
    add_nth_field_of_in_file_to_lfn: str = ""  #: the same with the name of the first input file, and for logs too
    dest_se: str = ""  #: the storage that outputs go to
    no_separate_log: bool = False  #: keep no log archives
    debug_mode: bool = False
    disable_auto_retry: bool = False
    no_email: bool = False
    no_looping_check: bool = False  #: do not end jobs that do nothing for long
    skip_scout: bool = False  #: run all jobs at once, without trying a few first
    working_group: str = ""
    force_staged: bool = False  #: copy inputs before the command starts
    transfer_type: str = ""  #: how inputs may be read: root, direct, davs, file, with commas; kept as information
    avoid_vp: bool = False  #: no queues without storage of their own; kept as information
    os_matching: bool = False  #: ask for the operating system of this machine; kept as information
    official: bool = False  #: for a whole group, under a name of its; needs the role production
    description_in_lfn: str = ""  #: does nothing, as in prun 2.2.0
    allow_task_duplication: bool = False  #: make a new task though there was one of this name
    use_new_code: bool = False  #: when a task of this name runs again, take this sandbox
    run_dir: str = "."  #: where in the sandbox the command runs
    cli_params: str = ""  #: the command line that made this task, for the record

    def __post_init__(self) -> None:
        """Raise `Invalid` for a text where several are wanted: its letters would be taken for them."""
        faults = [
            Fault(field.name, f"{value!r} is one text, several are wanted", f"write {field.name}=({value!r},)")
            for field in fields(self)
            if field.default == () and isinstance(value := getattr(self, field.name), str)
        ]
        if faults:
            raise Invalid("this task cannot be submitted", faults)

    @property
    def has_build(self) -> bool:
        """Whether a build job comes first."""
        return bool(self.bexec or self.no_compile) and not self.no_build

    @property
    def reads_main(self) -> bool:
        """Whether there is a main input, which is shared out among the jobs."""
        return bool(self.in_ds or self.pfn_list)

    @property
    def streams(self) -> tuple[str, ...]:
        """The inputs that %-words of the command stand for."""
        return (*(["IN"] if self.reads_main else []), *(stream.name for stream in self.secondary_dss))

    def doubts(self) -> list[str]:
        """What is probably not meant, though it can be run."""
        told = ", ".join(f"%{name}" for name in self.streams) or "none"
        words = unfilled(self.exec, self.streams)
        doubts = [f"{word} in the command stands for nothing and stays as it is (inputs: {told})" for word in words]
        if self.description_in_lfn:
            doubts.append("--descriptionInLFN does nothing, as in prun 2.2.0: put the text into the names of --outputs")
        return doubts

    @property
    def nth_field(self) -> str:
        """Which fields of the names of inputs go into the names of outputs."""
        return self.add_nth_field_of_in_file_to_lfn or self.add_nth_field_of_in_ds_to_lfn

    def check(self, nickname: str) -> None:
        """Raise `Invalid` with everything that is wrong."""
        if faults := [
            *self._faults(),
            *out_ds_faults(self.out_ds, nickname, official=self.official),
            *output_faults(self.outputs, self.out_ds),
        ]:
            raise Invalid("this task cannot be submitted", faults)

    def _faults(self) -> Iterator[Fault]:
        if not self.exec.strip():
            yield Fault("exec", "there is no command", "give what every job has to run")
        yield from command_faults(self.exec, self.streams)
        for name in ("exec", "bexec"):
            if not re.sub(r"[\n\t]", "", getattr(self, name)).isprintable():
                yield Fault(name, "it contains control characters", "remove them")
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and value < 1:
                yield Fault(camel_case(name), f"{value} is less than 1", "give a positive number")
        if self.max_attempt is not None and self.max_attempt > MOST_ATTEMPTS:
            yield Fault("maxAttempt", f"{self.max_attempt} is too many", f"give at most {MOST_ATTEMPTS}")
        yield from self._input_faults()
        yield from self._side_job_faults()
        for pattern in self.allow_no_output:
            if problem := problem_of(pattern):
                yield Fault("allowNoOutput", f"'{pattern}' is no regular expression: {problem}", "correct it")

    def _input_faults(self) -> Iterator[Fault]:
        """What is wrong with the inputs, and what is said about inputs that there are not."""
        present = {
            NEEDS_DATASET: (self.in_ds, "give --inDS or --inFiles"),
            NEEDS_INPUT: (self.reads_main, "give --inDS, --inFiles or --pfnList"),
            NEEDS_SECONDARY: (self.secondary_dss, "give --secondaryDSs"),
            NEEDS_ANY_INPUT: (self.reads_main or self.secondary_dss, "give --inDS, --inFiles or --pfnList"),
        }
        for names, (there, do) in present.items():
            for name in names:
                if getattr(self, name) and not there:
                    yield Fault(camel_case(name), "it is about inputs, and there are none", do)
        if self.in_ds and self.pfn_list:
            yield Fault("pfnList", "it takes the place of the main input, and --inDS is given too", "give one of them")
        for name in self.in_ds:
            if not name.strip() or any(char.isspace() for char in name):
                yield Fault("inDS", f"'{name}' is no dataset name", "separate names by commas")
        for name in ("add_nth_field_of_in_ds_to_lfn", "add_nth_field_of_in_file_to_lfn"):
            if not re.fullmatch(r"(\d+(,\d+)*)?", getattr(self, name), re.ASCII):
                yield Fault(camel_case(name), f"'{getattr(self, name)}' has more than numbers", "such as 2,3")
        if self.add_nth_field_of_in_ds_to_lfn and self.add_nth_field_of_in_file_to_lfn:
            what = "it contradicts --addNthFieldOfInDSToLFN"
            yield Fault("addNthFieldOfInFileToLFN", what, "give one of them")
        for address in self.pfn_list:
            if not address or any(char.isspace() or char == "," for char in address):
                yield Fault("pfnList", f"'{address}' is no address", "one a line, without blanks and commas")
        if self.db_release and self.db_release != "LATEST" and not re.fullmatch(r"[^\s,:]+:[^\s,:]+", self.db_release):
            yield Fault("dbRelease", f"'{self.db_release}' is neither LATEST nor DATASET:FILE", "write it like that")
        if unknown := sorted({*filter(None, self.transfer_type.split(","))} - TRANSFER_TYPES):
            yield Fault("transferType", f"there is no {unknown[0]}", f"give {', '.join(sorted(TRANSFER_TYPES))}")
        yield from secondary_faults(self.secondary_dss, main_stream=self.reads_main)
        yield from self._event_service_faults()

    def _event_service_faults(self) -> Iterator[Fault]:
        """What does not go with ranges of events (docs/events.md)."""
        if self.n_events_per_worker is None:
            return
        if not self.merge_output:
            yield Fault("nEventsPerWorker", "each range makes files of its own", "add --mergeOutput")
        if self.n_events_per_job is not None:
            yield Fault("nEventsPerJob", "a job of the event service has all events of a file", "leave it out")
        if self.n_files_per_job not in (None, 1):
            yield Fault("nFilesPerJob", "a job of the event service has one file", "leave it out")

    def _side_job_faults(self) -> Iterator[Fault]:
        """What is wrong with the build, the merging, the image."""
        if self.no_build and (self.bexec or self.no_compile):
            name = "bexec" if self.bexec else "noCompile"
            yield Fault("noBuild", f"it contradicts --{name}, which needs a build job", "give one of them")
        if self.container_image and (self.bexec or self.no_compile):
            yield Fault("containerImage", "tasks in containers have no build job", "build in --exec, or in the image")
        if not self.merge_output:
            for name in NEEDS_MERGING:
                if getattr(self, name):
                    yield Fault(camel_case(name), "it is about merging", "add --mergeOutput")
        elif not self.outputs:
            yield Fault("mergeOutput", "there are no outputs to merge", "give --outputs")
        if bad := sorted({char for char in self.merge_script if char in '"`$\\' or not char.isprintable()}):
            what = f"it contains {' '.join(map(repr, bad))}"
            yield Fault("mergeScript", what, "put the command into a script, and name that")
        if any(char.isspace() or char == "," for char in self.container_image):
            yield Fault("containerImage", f"'{self.container_image}' is no image", "such as docker://alpine:3")


POSITIVE = (
    "n_jobs",
    "n_files",
    "n_files_per_job",
    "n_gb_per_job",
    "n_events",
    "n_events_per_job",
    "n_events_per_file",
    "n_events_per_worker",
    "n_skip_files",
    "max_n_files_per_job",
    "max_attempt",
    "memory_mb",
    "max_walltime_hours",
    "n_core",
    "max_core",
    "cpu_time_per_event",
    "out_disk_count",
    "n_gb_per_merge_job",
    "parent_task_id",
)
NEEDS_INPUT = ("n_files", "n_files_per_job", "n_gb_per_job", "n_events_per_file", "use_num_files_in_sec_dss_as_ratio")
NEEDS_DATASET = (
    "n_skip_files",
    "match",
    "anti_match",
    "input_files",
    "skip_empty_input",
    "not_expand_in_ds",
    "use_log_as_input",
    "skip_files_used_by",
    "n_events_per_worker",
    "respect_lb",
    "add_nth_field_of_in_ds_to_lfn",
    "add_nth_field_of_in_file_to_lfn",
)
NEEDS_SECONDARY = ("not_expand_sec_dss", "use_num_files_in_sec_dss_as_ratio")
NEEDS_ANY_INPUT = ("write_input_to_txt",)
NEEDS_MERGING = ("merge_script", "merge_log", "merge_single_file", "n_gb_per_merge_job")
CAMEL_CASE = {
    "n_gb_per_job": "nGBPerJob",
    "n_gb_per_merge_job": "nGBPerMergeJob",
    "parent_task_id": "parentTaskID",
    "not_expand_in_ds": "notExpandInDS",
    "input_files": "inputFileList",
    "secondary_dss": "secondaryDSs",
    "not_expand_sec_dss": "notExpandSecDSs",
    "use_num_files_in_sec_dss_as_ratio": "useNumFilesInSecDSsAsRatio",
    "respect_lb": "respectLB",
    "avoid_vp": "avoidVP",
    "description_in_lfn": "descriptionInLFN",
    "add_nth_field_of_in_ds_to_lfn": "addNthFieldOfInDSToLFN",
    "add_nth_field_of_in_file_to_lfn": "addNthFieldOfInFileToLFN",
    "memory_mb": "memory",
    "max_walltime_hours": "maxWalltime",
}


def problem_of(pattern: str) -> str:
    """Why a text is no regular expression, or nothing."""
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def camel_case(name: str) -> str:
    """The option of `bamboo run` that sets a field, in prun's spelling."""
    first, *rest = name.split("_")
    return CAMEL_CASE.get(name) or first + "".join(word.capitalize() for word in rest)
