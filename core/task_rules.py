"""Rules that tie task parameters together: what pieces of a command line may be, and whether there is work at all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .errors import Fault
from .task_pieces import PLACEHOLDER
from .tunables import MOST

if TYPE_CHECKING:
    from .task_parameters import TaskParameters
    from .task_pieces import JobParameter

#: More jobs than this in one task are refused: cut it into several.
MAX_JOBS = 1_000_000
#: How many kB a unit of disk has.
KILOBYTES = {"kB": 1, "MB": 1 << 10, "GB": 1 << 20}
#: Placeholders that need no dataset; all others are streams, which an input item fills.
NUMBERS = frozenset({"SN", "SN/P", "SURL", "MIDDLENAME", "SEQNUMBER", "SKIPEVENTS", "MAXEVENTS", "FIRSTEVENT"})
#: What stands for the inputs in a user's command.
INPUTS = re.compile(r"%(?:IN(?![A-Za-z0-9_])|\{IN\})")
_DATASET = re.compile(r"[^\s,\x00-\x1f]{1,255}")
_FILE_NAME = re.compile(r"[^\s,/\x00-\x1f]{1,255}")


def faults_in(parameters: TaskParameters, broken: frozenset[str] = frozenset()) -> list[Fault]:
    """Every fault that the fields alone do not show; rules that read one of the `broken` keys are left out."""
    return [
        fault
        for keys, rule in RULES
        if broken.isdisjoint(keys)
        for fault in rule(parameters)
    ]  # fmt: skip


def _items(parameters: TaskParameters) -> Iterator[tuple[str, JobParameter]]:
    for at, item in enumerate(parameters.job_parameters):
        yield f"task_parameters.jobParameters[{at}]", item
    if parameters.log is not None:
        yield "task_parameters.log", parameters.log


def _kinds(parameters: TaskParameters) -> Iterator[Fault]:
    for where, item in _items(parameters):
        if item.type == "template" and item.param_type is None:
            yield Fault(f"{where}.param_type", "missing", "say what the template stands for: input, output, number…")
        if (item.param_type == "log") != (where == "task_parameters.log"):
            yield Fault(f"{where}.param_type", "the log is given by the key `log`, and by nothing else", "move it")


def _datasets(parameters: TaskParameters) -> Iterator[Fault]:
    for where, item in _items(parameters):
        if item.param_type in ("input", "output", "log") and not item.dataset:
            yield Fault(f"{where}.dataset", "missing", "name the dataset")
        if item.param_type == "input":
            names: Iterable[str] = item.datasets
        else:
            names = [name for name in (item.dataset, item.container) if name]
        for name in names:
            if not _DATASET.fullmatch(name):
                yield Fault(
                    f"{where}.dataset", f"{name[:80]!r} is no dataset name", "no blanks or commas, at most 255 letters"
                )


def _output_names(parameters: TaskParameters) -> Iterator[Fault]:
    outputs = [(where, item) for where, item in _items(parameters) if item.param_type in ("output", "log")]
    seen = Counter(item.value for _, item in outputs)
    for where, item in outputs:
        if seen[item.value] > 1:
            yield Fault(f"{where}.value", "another output has the same name", "give each output its own")
        if "${SN" not in item.value:
            yield Fault(f"{where}.value", "all jobs would write the same file", "put ${SN} into the name")
        if not _FILE_NAME.fullmatch(PLACEHOLDER.sub("_", item.value)):
            yield Fault(f"{where}.value", "no name for a file", "no blanks, commas or slashes, at most 255 letters")


def _placeholders(parameters: TaskParameters) -> Iterator[Fault]:
    streams = {item.stream for item in (*parameters.inputs, *parameters.pseudo_inputs)}
    if parameters.build_spec is not None:
        streams.add("LIB")
    if parameters.pfn_list:
        streams.add("IN")
    for where, item in _items(parameters):
        for word in item.placeholders:
            if word not in NUMBERS and word.partition("/")[0] not in streams:
                yield Fault(
                    f"{where}.value", f"nothing fills ${{{word[:40]}}}", "add an input of that name, or quote it"
                )
        if "SURL" in item.placeholders and not parameters.source_url:
            yield Fault(
                "task_parameters.sourceURL", f"missing, though {where} uses ${{SURL}}", "give the server's address"
            )


def _unfilled(parameters: TaskParameters) -> Iterator[Fault]:
    """`%IN` in a user's command, which the run transform fills, where there is nothing to fill it with.

    Other words with a percent sign are left alone: `date +%F` means what it says.
    """
    if parameters.inputs or parameters.pfn_list or (parameters.trans_path and "runGen" not in parameters.trans_path):
        return
    for at, item in enumerate(parameters.job_parameters):
        if item.type == "constant" and INPUTS.search(unquote(item.value)):
            what = "the command has %IN, and the task has no input that could fill it"
            yield Fault(f"task_parameters.jobParameters[{at}].value", what, "name an input dataset, or take %IN out")


def _streams(parameters: TaskParameters) -> Iterator[Fault]:
    seen: set[str] = set()
    for where, item in _items(parameters):
        if item.param_type not in ("input", "pseudo_input"):
            continue
        if not item.stream:
            yield Fault(f"{where}.value", "the template has no placeholder", "write ${IN} where the names go")
        elif item.stream in seen and item.param_type == "input":
            yield Fault(f"{where}.value", f"two inputs fill ${{{item.stream}}}", "give the second another name")
        seen.add(item.stream)


def _merging(parameters: TaskParameters) -> Iterator[Fault]:
    if parameters.merge_output and parameters.merge_spec is None:
        yield Fault("task_parameters.mergeSpec", "missing, though mergeOutput is set", "say how outputs are merged")
    if parameters.merge_output and not parameters.outputs:
        yield Fault("task_parameters.mergeOutput", "there are no outputs to merge", "name the outputs")


def _steps(parameters: TaskParameters) -> Iterator[Fault]:
    if parameters.multi_step_exec is not None and not parameters.container_name:
        where = "task_parameters.container_name"
        yield Fault(where, "missing, though multiStepExec is given", "name the image that the main step runs in")


def _patterns(parameters: TaskParameters) -> Iterator[Fault]:
    for where, item in _items(parameters):
        for key, text in (("include", item.include), ("exclude", item.exclude)):
            for pattern in filter(None, text.split(",")):
                try:
                    re.compile(pattern)
                except re.error as error:
                    yield Fault(f"{where}.{key}", f"{pattern[:80]!r} is no regular expression: {error}", "correct it")


def _work(parameters: TaskParameters) -> Iterator[Fault]:
    where = "task_parameters.jobParameters"
    if parameters.no_input or parameters.pfn_list:
        key = "noInput" if parameters.no_input else "pfnList"
        for item in parameters.inputs:
            if not item.says_how_many:
                what = f"given, though {where} reads {item.dataset[:80]}"
                yield Fault(f"task_parameters.{key}", what, "drop one, or give the input nFilesPerJob or ratio")
    if parameters.pfn_list or parameters.main_input is not None:
        return
    n_jobs = parameters.n_jobs_without_input
    if n_jobs == 0:
        yield Fault(
            where, "nothing says how many jobs there are", "name an input dataset, or give nEvents and nEventsPerJob"
        )
    elif n_jobs > MAX_JOBS:
        yield Fault("task_parameters.nEvents", f"makes {n_jobs} jobs", f"at most {MAX_JOBS} jobs in one task")


def _events(parameters: TaskParameters) -> Iterator[Fault]:
    """What a job gets of files, in events, must be whole files unless it is told where it begins (protocol 7.5)."""
    if parameters.main_input is None:
        return
    per_job, per_file = parameters.n_events_per_job, parameters.n_events_per_file
    if per_job and per_file and per_job % per_file and not parameters.cuts_files:
        what = f"{per_job} is no multiple of nEventsPerFile ({per_file}), and a file is not cut into several jobs"
        do = f"give {-(-per_job // per_file) * per_file}, or put ${{SKIPEVENTS}} into the command line"
        yield Fault("task_parameters.nEventsPerJob", what, do)
    several = len(parameters.main_input.datasets) > 1
    if parameters.add_nth_field_to_lfn and not parameters.use_file_as_source_lfn and several:
        what = "the field of the dataset's name is wanted, but there are several datasets"
        yield Fault("task_parameters.addNthFieldToLFN", what, "take it from the file names, or submit a task for each")


def _dynamic_events(parameters: TaskParameters) -> Iterator[Fault]:
    """Where queues say how many events a job gets, the task cannot say it too (manual ch. 12.1)."""
    where = "task_parameters.dynamicNumEvents"
    if not parameters.dynamic_num_events:
        if parameters.min_granularity is not None:
            yield Fault("task_parameters.minGranularity", "means nothing without dynamicNumEvents", "give both")
        return
    if parameters.main_input is None:
        yield Fault(where, "given, though there is no input whose events could be shared out", "name an input dataset")
    sizes = {
        "nFilesPerJob": parameters.n_files_per_job,
        "nGBPerJob": parameters.n_gb_per_job,
        "nEventsPerJob": parameters.n_events_per_job,
        "nEventsPerWorker": parameters.n_events_per_worker,
    }
    for key in (key for key, size in sizes.items() if size is not None):
        yield Fault(f"task_parameters.{key}", "given with dynamicNumEvents: queues say how large jobs are", "drop one")


def _event_service(parameters: TaskParameters) -> Iterator[Fault]:
    """Ranges of events are cut from one file for each job, and what they make is merged (manual ch. 7.1.3)."""
    if parameters.n_events_per_worker is None:
        return
    where = "task_parameters.nEventsPerWorker"
    if parameters.main_input is None:
        yield Fault(where, "given, though there is no input whose events could be shared out", "name an input dataset")
    if not parameters.merge_output:
        yield Fault(where, "given without mergeOutput: each range makes files of its own", "set mergeOutput, mergeSpec")
    for key, given in (("nFilesPerJob", parameters.n_files_per_job), ("nEventsPerJob", parameters.n_events_per_job)):
        if given not in (None, 1) or (given and key == "nEventsPerJob"):
            yield Fault(f"task_parameters.{key}", "a job of the event service has one file", "leave it out")
    for at, item in _items(parameters):
        if "FIRSTEVENT" in item.placeholders:
            yield Fault(f"{at}.value", "${FIRSTEVENT} is not known for event ranges", "use ${SKIPEVENTS}")


def _most(parameters: TaskParameters) -> Iterator[Fault]:
    """What follows from several numbers must be a number that the database holds, which each of them is."""
    cores = max(1, parameters.core_count) if parameters.ram_count_unit != "MB" else 1
    memory_mb = (parameters.ram_count or 0) * cores + parameters.base_ram_count
    if memory_mb > MOST:
        what = f"{memory_mb} MB for a job, with baseRamCount and all cores ({cores})"
        yield Fault("task_parameters.ramCount", what, f"at most {MOST} MB for a job")
    work_mb = -(-(parameters.work_disk_count or 0) * KILOBYTES[parameters.work_disk_unit] // KILOBYTES["MB"])
    if work_mb > MOST:
        yield Fault("task_parameters.workDiskCount", f"{work_mb} MB for a job", f"at most {MOST} MB")


#: Which keys a rule reads, and the rule.
RULES: tuple[tuple[frozenset[str], Callable[[TaskParameters], Iterator[Fault]]], ...] = (
    (frozenset(), _kinds),
    (frozenset(), _datasets),
    (frozenset(), _output_names),
    (frozenset({"jobParameters", "sourceURL"}), _placeholders),
    (frozenset({"jobParameters", "pfnList", "transPath"}), _unfilled),
    (frozenset(), _streams),
    (frozenset({"mergeOutput", "mergeSpec"}), _merging),
    (frozenset({"multiStepExec", "container_name"}), _steps),
    (frozenset(), _patterns),
    (frozenset({"ramCount", "ramCountUnit", "baseRamCount", "coreCount", "workDiskCount", "workDiskUnit"}), _most),
    (frozenset({"jobParameters", "nEvents", "nEventsPerJob", "nFiles", "nFilesPerJob", "noInput", "pfnList"}), _work),
    (frozenset({"jobParameters", "nEventsPerJob", "nEventsPerFile", "noInput", "pfnList"}), _events),
    (
        frozenset({"jobParameters", "dynamicNumEvents", "nFilesPerJob", "nGBPerJob", "nEventsPerJob"}),
        _dynamic_events,
    ),
    (
        frozenset({"jobParameters", "nEventsPerWorker", "nEventsPerJob", "nFilesPerJob", "noInput", "mergeOutput"}),
        _event_service,
    ),
)
