"""Build and merge jobs: those that a task needs beside its run jobs (panda-client.md 7.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..plugins.contracts import QueueView
from ..sql.generation import NewJob
from ..sql.merging import ToMerge
from .job_builder import FileRow, Recipe, library_row

BUILD_TRANSFORM = "buildGen-00-00-01"
MERGE_TRANSFORM = "runMerge-00-00-02"
#: How PanDA's clients know merge jobs.
MERGE_PROCESSING = "pmerge"
#: Side jobs go before the task's run jobs, which wait for them.
AHEAD = 1
_GROUPS = re.compile(r"\$\{TRN_(\w+):(\w+)\}")


def build_job(recipe: Recipe, queue: QueueView, serial_nr: int) -> NewJob:
    """The job that makes the library of a task for a queue."""
    spec = recipe.parameters.build_spec
    if spec is None:
        raise ValueError("the task has nothing to build")
    names = recipe.common_names(serial_nr)
    outputs = recipe.output_rows(recipe.outputs("lib", "log"), queue, names)
    library = next(row["lfn"] for row in outputs if row["type"] == "lib")
    columns = {
        **recipe.columns(queue, serial_nr),
        "kind": "build",
        "prod_source_label": spec.prod_source_label,
        "transformation": spec.trans_path or BUILD_TRANSFORM,
        "current_priority": recipe.task.current_priority + AHEAD,
    }
    line = recipe.fill(spec.job_parameters, {**names, "IN": spec.archive_name, "OUT": library})
    return NewJob(columns, line.strip(), (), outputs)


def merge_job(
    recipe: Recipe, group: Sequence[ToMerge], queue: QueueView, serial_nr: int, library: Mapping[str, Any] | None
) -> NewJob:
    """The job that merges the intermediate files of run jobs, stream by stream."""
    spec = recipe.parameters.merge_spec
    if spec is None:
        raise ValueError("the task merges nothing")
    names = recipe.common_names(serial_nr)
    outputs = recipe.output_rows(recipe.outputs("output", "log"), queue, names)
    by_stream = dict(zip((d.stream_name for d in recipe.outputs("output", "log")), outputs, strict=True))
    files = [file for run_job in group for file in run_job.files]
    if library is not None:
        names["LIB"] = library["lfn"]
    line = _with_groups(spec.job_parameters, files, by_stream)
    used = [file for file in files if file["type"] == "tmpl_output" or "LOG_MERGE" in by_stream]
    rows = [_input_row(file) for file in used] + ([library_row(library)] if library is not None else [])
    columns = {
        **recipe.columns(queue, serial_nr),
        "kind": "merge",
        "processing_type": MERGE_PROCESSING,
        "transformation": spec.trans_path or MERGE_TRANSFORM,
        "current_priority": recipe.task.current_priority + AHEAD,
        "n_input_files": len(rows),
        "input_file_bytes": sum(file["size_bytes"] or 0 for file in used),
    }
    return NewJob(columns, recipe.fill(line, names).strip(), rows, outputs)


def _with_groups(template: str, files: Sequence[Mapping[str, Any]], by_stream: Mapping[str, FileRow]) -> str:
    """Fill `${TRN_OUTPUT:OUTPUT}` and its like: a group `in1,in2:out` for each stream of that kind."""

    def groups(match: re.Match[str]) -> str:
        kind = match.group(2)
        if kind == "LOG_MERGE" and kind in by_stream:
            logs = [file["lfn"] for file in files if file["type"] == "log"]
            return _group(logs, by_stream[kind])
        if kind != "OUTPUT":
            return ""  # the log of the merge job is made by the pilot
        streams = sorted({file["stream_name"] for file in files if file["type"] == "tmpl_output"})
        return " ".join(
            _group([file["lfn"] for file in files if file["stream_name"] == stream], by_stream[stream])
            for stream in streams
        )

    return _GROUPS.sub(groups, template)


def _group(lfns: Sequence[str], output: FileRow) -> str:
    return f"{','.join(lfns)}:{output['lfn']}" if lfns else ""


def _input_row(file: Mapping[str, Any]) -> FileRow:
    kept = ("datasetid", "lfn", "scope", "guid", "size_bytes", "checksum", "url")
    return {"type": "input", "n_events": 0, **{name: file[name] for name in kept}}
