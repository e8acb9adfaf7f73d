"""What a task asks for besides its run jobs: a build before them, merging after them, an image around the command."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .spec import TaskSpec

#: The transform writes the user's command into this script, and the image's shell runs it.
RUN_IN_IMAGE = "cat __run_main_exec.sh; /bin/sh __run_main_exec.sh"


def container_parts(spec: TaskSpec) -> dict[str, Any]:
    """The image, and what is done outside of it before and after the command."""
    if not spec.container_image:
        return {}
    return {
        "container_name": spec.container_image,
        "multiStepExec": {
            **{
                step: {"command": "${TRF}", "args": f"--{step} ${{TRF_ARGS}}"} for step in ("preprocess", "postprocess")
            },
            "containerOptions": {"containerExec": RUN_IN_IMAGE, "containerImage": spec.container_image},
        },
    }


def log_merge(spec: TaskSpec) -> dict[str, Any]:
    """The template of the log archives that merge jobs make of those of the run jobs."""
    if not (spec.merge_output and spec.merge_log):
        return {}
    template = {
        "dataset": f"{spec.out_ds}.merge_log/",
        "container": f"{spec.out_ds}.merge_log/",
        "type": "template",
        "param_type": "output",
        "value": f"{spec.out_ds}.log.$JEDITASKID.${{SN}}.merge_log.tgz",
        "mergeOnly": True,
    }
    return {"log_merge": template}


def build_parts(spec: TaskSpec, archive: str) -> dict[str, Any]:
    """The job that unpacks the archive at each queue, runs the build command, and packs what is there then."""
    if not spec.has_build:
        return {}
    words = [f"-i ${{IN}} -o ${{OUT}} --sourceURL ${{SURL}} -r {spec.run_dir}"]
    words += [f'--bexec "{quote(spec.bexec)}"'] if spec.bexec else []
    words += ["--noCompile"] if spec.no_compile else []
    line = " ".join(words) + " "
    return {"buildSpec": {"prodSourceLabel": "panda", "archiveName": archive, "jobParameters": line}}


def merge_parts(spec: TaskSpec, archive: str) -> dict[str, Any]:
    """The jobs that put outputs together, by the user's script from the sandbox or by what the files are."""
    if not spec.merge_output:
        return {}
    words = [f"-r {spec.run_dir}"]
    words += [f'-j "{spec.merge_script}"'] if spec.merge_script else []
    words += ["--mergeSingleFile"] if spec.merge_single_file else []
    if spec.has_build:
        words.append("-l ${LIB}")
    elif archive:
        words.append(f"-a {archive} --sourceURL ${{SURL}}")
    words += ["${TRN_OUTPUT:OUTPUT}", "${TRN_LOG_MERGE:LOG_MERGE}" if spec.merge_log else "${TRN_LOG:LOG}"]
    return {
        "mergeSpec": {"useLocalIO": 1, "jobParameters": " ".join(words)},
        "mergeOutput": True,
        **({"nGBPerMergeJob": spec.n_gb_per_merge_job} if spec.n_gb_per_merge_job else {}),
    }
