"""Builds the run jobs of a task: fills placeholders and plans outputs (panda-client.md 7.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..core.task_parameters import TaskParameters
from ..core.tunables import MOST
from ..plugins.capacity import MIN_OUTPUT_MB
from ..plugins.contracts import InputFile, QueueView, TaskView
from ..plugins.generic.refiner import NUMBERS_STREAM, PREMERGED
from ..sql.generation import NewJob
from ..sql.tables import INPUT_TYPES

#: The general transforms; the server puts its own address before them when it hands the job out.
RUN_TRANSFORM = "runGen-00-00-02"
_PLACEHOLDER = re.compile(r"\$\{(\w+)(?:/(\w))?\}")

#: A row of `job_files` to be.
FileRow = dict[str, Any]


@dataclass(frozen=True)
class Portion:
    """A file of a secondary stream for a job. `is_owned` says whether the job takes it, or only borrows it."""

    file: InputFile
    is_owned: bool


#: What a job gets of the secondary streams: {name of the stream: files}.
Share = Mapping[str, Sequence[Portion]]


@dataclass(frozen=True)
class Recipe:
    """What all jobs of a task have in common. `datasets` are its dataset rows, the master first."""

    task: TaskView
    parameters: TaskParameters
    datasets: Sequence[Any]
    source_url: str
    transformation: str = field(default=RUN_TRANSFORM)
    min_output_mb: int = MIN_OUTPUT_MB.default

    @cached_property
    def master(self) -> Any:
        return next(dataset for dataset in self.datasets if dataset.is_master)

    def stream_dataset(self, stream: str) -> Any:
        """The dataset that a placeholder of an input reads."""
        return next(row for row in self.datasets if row.type in INPUT_TYPES and row.stream_name == stream)

    @property
    def events_per_range(self) -> int | None:
        """How many events a range has, of a task of the event service (manual ch. 7.1.3)."""
        return self.parameters.n_events_per_worker

    @property
    def merges(self) -> bool:
        return self.parameters.merge_output

    def outputs(self, *types: str) -> list[Any]:
        """The output datasets of the given types."""
        return [dataset for dataset in self.datasets if dataset.type in types]

    @cached_property
    def run_outputs(self) -> list[Any]:
        """What run jobs write: intermediate files, where the task merges."""
        return self.outputs("tmpl_output" if self.merges else "output", "log")

    @property
    def all_outputs(self) -> list[Any]:
        return [dataset for dataset in self.datasets if dataset.type not in INPUT_TYPES]

    def run_job(
        self,
        inputs: Sequence[InputFile],
        queue: QueueView,
        serial_nr: int,
        library: Mapping[str, Any] | None = None,
        share: Share | None = None,
        *,
        is_scout: bool = False,
    ) -> NewJob:
        """One job over `inputs` at `queue`, with its share of the secondary streams, and the library built there."""
        share = share or {}
        names = self._names(inputs, serial_nr, share)
        if library is not None:
            names["LIB"] = library["lfn"]
        outputs = self.output_rows(self.run_outputs, queue, names)
        more = [portion for portions in share.values() for portion in portions]
        staged = [*(inputs if self.master.type == "input" else ()), *(portion.file for portion in more)]
        sizes = sum(file.size_bytes for file in staged)
        columns = {
            **self.columns(queue, serial_nr),
            "attempt_nr": max((file.attempt_nr for file in inputs), default=0) + 1,
            "transformation": self.transformation,
            "container_name": self.task.container_name,
            "to_be_merged": self.merges,
            "is_scout": is_scout,
            "is_event_service": self.events_per_range is not None,
            "max_disk_count_mb": self._disk_mb(sizes, inputs),
            "n_input_files": len(staged),
            "input_file_bytes": sizes,
            "n_events": self._n_events(inputs) or None,
        }
        rows = [self._input_row(file) for file in inputs]
        rows += [secondary_row(portion) for portion in more]
        if library is not None:
            rows.append(library_row(library))
        return NewJob(columns, self._command_line(names), rows, outputs)

    def _disk_mb(self, input_bytes: int, inputs: Sequence[InputFile]) -> int:
        """Scratch disk that a job is expected to need (manual ch. 13), which pilots hold it to.

        inputDiskCount + max(0.5 GB, outDiskCount * nEvents) + workDiskCount; only the inputs while nothing is known.
        No more than a column holds, which no disk is.
        """
        task = self.task
        if not task.work_disk_count_mb and not task.out_disk_count_kb:
            return min(input_bytes >> 20, MOST)
        n_events = sum(file.n_events or 1 for file in inputs)
        output_mb = max(self.min_output_mb, task.out_disk_count_kb * n_events >> 10)
        return min((input_bytes >> 20) + output_mb + task.work_disk_count_mb, MOST)

    def _names(self, inputs: Sequence[InputFile], serial_nr: int, share: Share) -> dict[str, str]:
        """What each placeholder stands for; `${X/T}` is looked up as `X/T`."""
        rule = self.task.split_rule
        has_files = self.master.stream_name != NUMBERS_STREAM
        lfns = sorted(file.lfn for file in inputs) if has_files else []
        events_per_job = int(rule.get("nEventsPerJob") or 0)
        number = self._number(inputs, serial_nr)
        streams = {self.master.stream_name: lfns}
        streams |= {stream: sorted(one.file.lfn for one in portions) for stream, portions in share.items()}
        # those of a range are filled in by the pilot, for each range anew
        events = {} if self.events_per_range else self._event_names(inputs, has_files)
        return {
            **self.common_names(serial_nr),
            **events,
            **{stream: ",".join(names) for stream, names in streams.items()},
            **{f"{stream}/T": str(names) for stream, names in streams.items()},
            "FIRSTEVENT": str((number - 1) * events_per_job),
            "SEQNUMBER": str(number),
            "MIDDLENAME": _middle_name(self._named_by(lfns), str(rule.get("addNthFieldToLFN") or "")),
        }

    def _event_names(self, inputs: Sequence[InputFile], has_files: bool) -> dict[str, str]:
        first = min(inputs, key=lambda file: file.lfn).first_event if has_files and inputs else 0
        return {"MAXEVENTS": str(self._n_events(inputs) or -1), "SKIPEVENTS": str(first)}

    def _n_events(self, inputs: Sequence[InputFile]) -> int:
        """How many events a job has, as far as user or catalogue say so; 0 when nobody does."""
        rule = self.task.split_rule
        if self.parameters.main_input is not None and rule.get("nEventsPerFile") and not rule.get("cutsFiles"):
            return len(inputs) * int(rule["nEventsPerFile"])
        if rule.get("useRealNumEvents"):
            return sum(file.n_events or 0 for file in inputs)
        per_job, wanted = int(rule.get("nEventsPerJob") or 0), self.parameters.n_events
        if per_job and wanted and self.master.stream_name == NUMBERS_STREAM:
            return min(per_job, wanted - (self._number(inputs, 1) - 1) * per_job)  # the last job has the rest
        return per_job

    def _named_by(self, lfns: Sequence[str]) -> str:
        """The name of which outputs take a field: that of the first input, or of the dataset."""
        if self.parameters.use_file_as_source_lfn:
            return lfns[0] if lfns else ""
        return str(self.master.dataset_name).rpartition(":")[2] if self.parameters.main_input is not None else ""

    def common_names(self, serial_nr: int) -> dict[str, str]:
        """Placeholders that jobs of every kind have."""
        return {"SN": f"{serial_nr:06d}", "SN/P": f"{serial_nr:06d}", "SURL": self.source_url}

    def _number(self, inputs: Sequence[InputFile], serial_nr: int) -> int:
        """What numbers and events are counted by: that of a pseudo input, which stays in all its attempts."""
        if self.master.stream_name == NUMBERS_STREAM and inputs and inputs[0].lfn.isdecimal():
            return int(inputs[0].lfn) + 1
        return serial_nr

    def _command_line(self, names: Mapping[str, str]) -> str:
        """The values of the visible items in order, a space after each that is not marked `padding: false`."""
        line = ""
        for item in self.parameters.job_parameters:
            if item.hidden or item.merge_only:
                continue
            shifted = {word: str(int(names[word]) + item.offset) for word in ("SEQNUMBER", "FIRSTEVENT")}
            if item.param_type == "pseudo_input":
                shifted[item.stream] = shifted["SEQNUMBER"]
            line += self.fill(self._intermediate(item.value), {**names, **shifted}) + (" " if item.padding else "")
        return line.rstrip()

    def _intermediate(self, value: str) -> str:
        """The value with the names of outputs replaced by those of intermediate files, where the task merges."""
        if self.merges:
            for output in self.parameters.outputs:
                value = value.replace(output.value, PREMERGED + output.value)
        return value

    def fill(self, template: str, names: Mapping[str, str]) -> str:
        """A text with its placeholders filled; those that nothing fills are left as they are."""

        def value(match: re.Match[str]) -> str:
            key = match.group(1) + (f"/{match.group(2)}" if match.group(2) else "")
            filled = names.get(key, match.group(0))
            # the client writes `user.alice${MIDDLENAME}.$JEDITASKID`: a field of its own all the same
            joined = key == "MIDDLENAME" and filled and match.string[: match.start()][-1:].isalnum()
            return f".{filled}" if joined else filled

        return _PLACEHOLDER.sub(value, template.replace("$JEDITASKID", str(self.task.jeditaskid)))

    def output_rows(self, datasets: Iterable[Any], queue: QueueView, names: Mapping[str, str]) -> list[FileRow]:
        """The files that a job writes to the given datasets."""
        return [
            {
                "datasetid": dataset.datasetid,
                "type": dataset.type,
                "lfn": self.fill(dataset.lfn_template, names),
                "scope": dataset.scope,
                "storage": dataset.storage or self.task.nucleus or queue.storage,
                "may_be_missing": bool(dataset.selection.get("may_be_missing")),
            }
            for dataset in datasets
        ]

    def _input_row(self, file: InputFile) -> FileRow:
        return {**_file_row(file), "fileid": file.fileid, "type": self.master.type}

    def columns(self, queue: QueueView, serial_nr: int) -> dict[str, Any]:
        """The columns that jobs of every kind have."""
        task = self.task
        return {
            "kind": "run",
            "is_scout": False,
            "container_name": None,
            "to_be_merged": False,
            "is_event_service": False,
            "attempt_nr": 1,
            "serial_nr": serial_nr,
            "queue": queue.queue,
            "current_priority": task.current_priority,
            "gshare": task.gshare,
            "resource_type": task.resource_type,
            "prod_source_label": task.prod_source_label,
            "vo": task.vo,
            "user_name": task.user_name,
            "working_group": task.working_group,
            "processing_type": task.processing_type,
            "uses_secrets": self.parameters.use_secrets,
            "command_to_pilot": "debug" if self.parameters.debug_mode else None,  # an order, with its first answer
            "core_count": task.core_count,
            "min_ram_count_mb": task.ram_count_mb,
            "max_disk_count_mb": task.work_disk_count_mb,
            "max_walltime_seconds": task.max_walltime_seconds,
            "n_input_files": 0,
            "input_file_bytes": 0,
            "n_events": None,
        }


def secondary_row(portion: Portion) -> FileRow:
    """A file of a secondary stream as an input of a job, which owns it unless it is only borrowed."""
    return {
        **_file_row(portion.file),
        "fileid": portion.file.fileid if portion.is_owned else None,
        "type": "input",
    }


def _file_row(file: InputFile) -> FileRow:
    return {
        "datasetid": file.datasetid,
        "lfn": file.lfn,
        "scope": file.scope,
        "guid": file.guid,
        "size_bytes": file.size_bytes,
        "checksum": file.checksum,
        "url": file.url,
        "n_events": file.n_events or 0,
        "first_event": file.first_event,
    }


def library_row(library: Mapping[str, Any]) -> FileRow:
    """A library as an input of a job: it belongs to the queue, so that no job owns it."""
    return {"type": "input", "n_events": 0, **library}


def _middle_name(source: str, fields: str) -> str:
    """The fields of a name that `addNthFieldToLFN` picks, counted from 1 and joined by dots."""
    parts = source.split(".") if source else []
    picked = [parts[int(n) - 1] for n in fields.split(",") if n.isdigit() and 0 < int(n) <= len(parts)]
    return ".".join(picked)
