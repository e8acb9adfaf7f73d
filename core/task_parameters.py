"""What a user asks for: PanDA's task parameters, checked whole before anything is stored.

The keys are those that PanDA's clients send (client protocol 7.4 to 7.6; sizes: manual ch. 13). Each is one field of
`TaskParameters`, in snake case; JEDI's refiner reads the same model. `docs/task_parameters.md` lists them.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from .errors import Fault, Invalid
from .output_names import with_plain_names
from .task_pieces import (
    BuildSpec,
    Count,
    FileNames,
    JobParameter,
    MergeSpec,
    Model,
    Name,
    Names,
    Offset,
    Size,
    Text,
    Word,
    camel,
    none_is_default,
)
from .task_rules import faults_in
from .validation import faults_of, guess

PREFIX = "task_parameters"


class TaskParameters(Model):
    """A task as submitted."""

    # Who and what
    task_name: Name = Field(
        description="name of the task, normally that of its output container, such as `user.alice.hello/`"
    )
    vo: Word = Field(description="organisation that the task belongs to, such as `bamboo`")
    prod_source_label: Word = Field(description="activity: `user` for a task of yours, `managed` for production")
    unique_task_name: bool = Field(False, description="refuse the task when one of that name is still active")
    processing_type: Text = Field("", description="which program made the task")
    working_group: Text = Field("", description="group on whose behalf it runs")
    campaign: Text = Field("", description="campaign it belongs to")
    official: bool = Field(
        False, description="belongs to a group: needs the role production, and its name is given once for all"
    )
    user_name: Text = Field("", description="ignored: the server knows who submits")
    framework: Text = Field("", description="kept as information")
    cli_params: Annotated[str, BeforeValidator(none_is_default), Field(max_length=65536)] = Field(
        "", description="the command line that made the task"
    )
    os_info: Text = Field("", description="machine that submitted it")
    no_email: bool = Field(False, description="send no mail")
    task_type: Text = Field("", description="kept as information")
    task_priority: Annotated[int, Field(ge=-10000, le=10000)] | None = Field(
        None, description="priority of the task; else 1000 for users, 500 for production"
    )
    current_priority: Annotated[int, Field(ge=-10000, le=10000)] | None = Field(
        None, description="priority to start with"
    )

    # The command
    job_parameters: tuple[JobParameter, ...] = Field(
        (), max_length=2000, description="the pieces of a job's command line"
    )
    log: JobParameter | None = Field(None, description="template of the log archive")
    trans_path: Annotated[str, BeforeValidator(none_is_default), Field(max_length=1024, pattern=r"^[^\s,]*$")] = Field(
        "", description="the transformation: URL or name; default: the general one"
    )
    trans_uses: Text = Field("", description="software release that jobs need")
    trans_home: Text = Field("", description="software package that jobs need")
    architecture: Annotated[str, Field(max_length=255), BeforeValidator(none_is_default)] = Field(
        "", description="platform that jobs need"
    )
    os_matching: bool = Field(False, description="kept as information")
    source_url: Annotated[
        str, BeforeValidator(none_is_default), Field(max_length=1024, pattern=r"^(https?://\S+)?$")
    ] = Field("", alias="sourceURL", description="server that jobs fetch the sandbox from: fills `${SURL}`")
    fixed_sandbox: Text = Field("", description="archive that replaces the first one when the task runs again")

    # In a container
    container_name: Annotated[str, BeforeValidator(none_is_default), Field(max_length=512, pattern=r"^[^\s,]*$")] = (
        Field("", alias="container_name", description="container image to run in")
    )
    multi_step_exec: dict[str, Any] | None = Field(None, description="what comes before and after, and in which image")

    # Where
    site: Annotated[str, Field(max_length=128), BeforeValidator(none_is_default)] = Field(
        "", description="the one queue or site to run at"
    )
    included_site: Names = Field((), description="only these queues or sites")
    excluded_site: Names = Field((), description="not these; `*` stands for anything")
    cloud: Annotated[str, Field(max_length=64), BeforeValidator(none_is_default)] = Field(
        "", description="`WORLD`: the task gets a nucleus where none is given"
    )
    nucleus: Annotated[str, Field(max_length=128), BeforeValidator(none_is_default)] = Field(
        "", description="the storage that outputs go to"
    )
    country_group: Text = Field("", description="kept as information")

    # Input
    no_input: bool = Field(False, description="the task reads no dataset")
    ds_for_in: Text = Field("", alias="dsForIN", description="the input as the user wrote it")
    n_files: Count | None = Field(None, description="only so many input files; without input: numbers to run over")
    wait_input: bool = Field(False, description="wait for input datasets that do not exist yet")
    allow_incomplete_in_ds: bool = Field(False, alias="allowIncompleteInDS", description="kept as information")
    ignore_missing_in_ds: bool = Field(False, alias="ignoreMissingInDS", description="kept as information")
    reuse_sec_on_demand: bool = Field(False, description="begin every secondary stream again when it is used up")
    pfn_list: FileNames = Field((), description="names that go to the payload as they are, in place of a dataset")
    skip_files_used_by: Names = Field((), description="tasks (ids or names) whose processed inputs are left out")

    # How it is cut into jobs
    n_files_per_job: Count | None = Field(None, description="input files of a job")
    n_max_files_per_job: Count = Field(200, description="input files of a job at most")
    n_gb_per_job: Count | None = Field(None, alias="nGBPerJob", description="GB of input, output and work of a job")
    n_events: Offset | None = Field(None, description="events to process; without input: how many numbers")
    n_events_per_job: Count | None = Field(
        None, description="events of a job; files are cut where `${SKIPEVENTS}` is told"
    )
    n_events_per_file: Count | None = Field(None, description="events of an input file")
    dynamic_num_events: bool = Field(
        False,
        description="give jobs as many events as their queue says (`nSimEvents` in its `catchall`), in whole files",
    )
    min_granularity: Count | None = Field(None, description="events that such a job has at least")
    n_events_per_worker: Count | None = Field(
        None, description="events of a range: the task is one of the event service"
    )
    use_real_num_events: bool = Field(False, description="take the number of events from the catalogue")
    skip_empty_input: bool = Field(False, description="pass over files without events")
    respect_split_rule: bool = Field(False, description="information: the limits are always kept")
    respect_lb: bool = Field(
        False, alias="respectLB", description="no job has files of two luminosity blocks (`._lb0123.` in their names)"
    )
    tgt_max_output_for_ng: Size | None = Field(
        None, alias="tgtMaxOutputForNG", description="GB of output that scouts fit `nGBPerJob` to"
    )
    add_nth_field_to_lfn: Text = Field(
        "", alias="addNthFieldToLFN", description="field of input names for `${MIDDLENAME}`"
    )
    use_file_as_source_lfn: bool = Field(False, alias="useFileAsSourceLFN", description="take that field from the file")

    # What a job needs
    core_count: Annotated[int, Field(ge=0, le=4096)] = Field(1, description="cores")
    max_core_count: Count | None = Field(None, description="kept as information")
    ram_count: Size | None = Field(None, description="memory in MB")
    ram_count_unit: Literal["MB", "MBPerCore", "MBPerCoreFixed"] = Field("MBPerCore", description="unit of it")
    base_ram_count: Size = Field(0, description="memory that does not grow with the cores, in MB")
    max_walltime: Annotated[float, Field(gt=0, le=24 * 365)] | None = Field(
        None, description="hours that a job may run"
    )
    cpu_time: Size | None = Field(None, description="CPU time of an event, for the sizes of jobs")
    cpu_time_unit: Literal["HS06sPerEvent", "mHS06sPerEvent", "HS06sPerEventFixed", "mHS06sPerEventFixed"] = Field(
        "HS06sPerEvent", description="unit of it"
    )
    cpu_efficiency: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        None, description="percent of the CPU used (90); 0: times do not scale with events"
    )
    min_cpu_efficiency: Annotated[float, Field(ge=0, le=1000)] | None = Field(None, description="stop scouts below it")
    base_time: Size = Field(0, description="seconds of a job that do not grow with its events")
    out_disk_count: Size | None = Field(None, description="output of an event")
    out_disk_unit: Literal["kB", "MB", "GB", "kBFixed", "MBFixed", "GBFixed"] = Field("kB", description="unit of it")
    work_disk_count: Size | None = Field(None, description="work directory of a job")
    work_disk_unit: Literal["kB", "MB", "GB"] = Field("MB", description="unit of it")
    io_intensity: Size | None = Field(None, description="IO per second of a job, before scouts measure it")
    io_intensity_unit: Text = Field("", description="unit of it")
    disk_io: Size | None = Field(None, alias="diskIO", description="kB/s of a job on its disk, before it is measured")

    # Build and merge jobs
    build_spec: BuildSpec | None = Field(None, description="build job before the others")
    merge_output: bool = Field(False, description="merge outputs")
    merge_spec: MergeSpec | None = Field(None, description="how outputs are merged")
    log_merge: JobParameter | None = Field(None, alias="log_merge", description="log that merge jobs make of logs")
    n_gb_per_merge_job: Count | None = Field(None, alias="nGBPerMergeJob", description="GB that a merge job reads")

    # When things go wrong
    max_attempt: Annotated[int, Field(ge=1, le=50)] = Field(3, description="attempts for each input")
    max_failure: Count | None = Field(
        None, description="failures for each input; the smaller of it and `maxAttempt` counts"
    )
    disable_auto_retry: bool = Field(False, description="one attempt only")
    skip_scout: bool = Field(False, description="run everything at once, without trying a few jobs first")
    looping_check: bool = Field(True, description="kill jobs that do nothing for long")
    no_looping_check: bool = Field(False, description="the opposite of `loopingCheck`")
    goal: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="percent of the inputs that is enough: the task ends, as `done`, when they are processed"
    )
    debug_mode: bool = Field(False, description="have the jobs show what they print while they run")

    # How inputs reach the job; kept as information where a queue decides it
    use_local_io: bool = Field(False, alias="useLocalIO", description="copy inputs before the job starts")
    force_staged: bool = Field(False, description="copy inputs before the job starts")
    allow_input_lan: Text = Field("", alias="allowInputLAN", description="read inputs over the local network")
    transfer_type: Text = Field("", description="how inputs are read")
    ip_connectivity: Annotated[
        str, BeforeValidator(none_is_default), Field(pattern=r"^((full|http|none)?(#(IPv4|IPv6)?)?)$")
    ] = Field("", description="network that jobs need: `full`, `http` or `none`, then `#IPv4` or `#IPv6` if need be")
    t1_weight: Annotated[int, Field(ge=-1, le=1000)] = Field(
        0, alias="t1Weight", description="-1: run at the nucleus only"
    )
    only_tags_for_fc: bool = Field(
        False, alias="onlyTagsForFC", description="take only queues that name the container in their tags"
    )
    avoid_vp: bool = Field(False, alias="avoidVP", description="kept as information")
    message_driven: bool = Field(False, description="kept as information")
    use_secrets: bool = Field(False, description="give the jobs the secrets of their user")
    no_wait_parent: bool = Field(False, description="begin with what the parent has made so far")

    # Features that are not there yet: a task that asks for one is refused, for without it the result would be wrong
    prepro_spec: Any = Field(None, description="job before the task")
    tar_ball_via_ddm: Any = Field(None, alias="tarBallViaDDM", description="sandbox from a dataset")
    hpo_workflow: Any = Field(None, description="search for hyperparameters")

    @cached_property
    def inputs(self) -> tuple[JobParameter, ...]:
        """Templates that read datasets: the main input, if there is one, and the secondary streams."""
        return tuple(item for item in self.job_parameters if item.param_type == "input")

    @property
    def main_input(self) -> JobParameter | None:
        """The input whose files are shared out among the jobs and counted; none where names or numbers are."""
        return None if self.no_input or self.pfn_list or not self.inputs else self.inputs[0]

    @property
    def secondary_inputs(self) -> tuple[JobParameter, ...]:
        """Inputs of which each job gets some for each of its main ones."""
        return self.inputs if self.main_input is None else self.inputs[1:]

    @cached_property
    def pseudo_inputs(self) -> tuple[JobParameter, ...]:
        """Templates that run over numbers."""
        return tuple(item for item in self.job_parameters if item.param_type == "pseudo_input")

    @cached_property
    def outputs(self) -> tuple[JobParameter, ...]:
        """Templates of output files, without the log."""
        return tuple(item for item in self.job_parameters if item.param_type == "output")

    @property
    def kills_idle_jobs(self) -> bool:
        """Whether pilots end jobs that do nothing for long; clients have a key for each of the two answers."""
        return self.looping_check and not self.no_looping_check

    @property
    def cuts_files(self) -> bool:
        """Whether jobs may get parts of a file: their command line is told where a part begins (`${SKIPEVENTS}`)."""
        told = any("SKIPEVENTS" in item.placeholders for item in self.job_parameters if not item.hidden)
        return told and self.main_input is not None and self.n_events_per_job is not None

    @property
    def n_jobs_without_input(self) -> int:
        """How many jobs a task over numbers has (client protocol 7.5); 0 when the parameters do not say."""
        if self.n_events:
            return math.ceil(self.n_events / (self.n_events_per_job or 1))
        return math.ceil((self.n_files or 0) / (self.n_files_per_job or 1))

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> TaskParameters:
        """Check the object that a client sends; raises `Invalid` with every fault in it. `regex|` outputs get names."""
        given, faults = _known(with_plain_names(raw))
        broken: frozenset[str] = frozenset()
        try:
            parameters = cls.model_validate(given)
        except ValidationError as error:
            faults += faults_of(error, PREFIX, cls)
            parameters, broken = _rest(given, error)
        faults += faults_in(parameters, broken)
        if faults:
            raise Invalid("the task cannot be run", faults)
        return parameters


#: Other names of keys.
SYNONYMS = {"priority": "currentPriority", "ramUnit": "ramCountUnit"}
KEYS: dict[str, str] = {str(field.alias or camel(name)): name for name, field in TaskParameters.model_fields.items()}
UNSUPPORTED = tuple(key for key, name in KEYS.items() if TaskParameters.model_fields[name].annotation is Any)
REQUIRED = {"taskName": "unnamed", "vo": "none", "prodSourceLabel": "none"}


def _known(raw: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The keys that mean something, null standing for absent, and a fault for each that does not."""
    given: dict[str, Any] = {}
    faults: list[Fault] = []
    for key, value in raw.items():
        name = SYNONYMS.get(key, key)
        if name not in KEYS:
            faults.append(Fault(f"{PREFIX}.{key[:80]}", "no such parameter", guess(key[:80], KEYS)))
        elif name in UNSUPPORTED and value not in (None, False, "", 0, [], {}):
            what = TaskParameters.model_fields[KEYS[name]].description
            faults.append(Fault(f"{PREFIX}.{key}", f"not supported yet: {what}", "submit the task without it"))
        elif value is not None:
            given[name] = _without_nulls(value)
    return given, faults


def _without_nulls(value: Any) -> Any:
    """Clients send null for what they leave out, in the pieces of the command line too."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if part is not None}
    return value


def _rest(given: dict[str, Any], error: ValidationError) -> tuple[TaskParameters, frozenset[str]]:
    """The parameters without what is wrong, so that the rules can be tried on them, and the keys left out."""
    places = [detail["loc"] for detail in error.errors(include_url=False, include_context=False, include_input=False)]
    broken = frozenset(str(place[0]) for place in places)
    items = {int(place[1]) for place in places if place[0] == "jobParameters" and len(place) > 1}
    rest = {**REQUIRED, **{key: value for key, value in given.items() if key not in broken}}
    if items:
        nothing = {"type": "constant", "value": ""}
        rest["jobParameters"] = [nothing if at in items else item for at, item in enumerate(given["jobParameters"])]
    return TaskParameters.model_validate(rest), broken
