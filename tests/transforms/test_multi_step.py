"""Jobs in several steps, as prun makes them for containers, run by a real pilot."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bamboo.server.transforms import one_file
from bamboo.tests.pilot.scripted_server import ScriptedServer, job
from bamboo.tests.transforms.job_directory import archive

RunPilot = Callable[..., int]

#: As panda-client writes it (captures/prun_e_container.json).
CONTAINER_EXEC = (
    'echo "=== cat exec script ==="; cat __run_main_exec.sh; echo; echo "=== exec script ==="; '
    "/bin/sh __run_main_exec.sh"
)


def container_job(server: ScriptedServer, command: str, **more: Any) -> dict[str, Any]:
    """A job of `prun --containerImage` with an input in the storage, a sandbox, and secrets."""
    server.script.files["/trf/user/runGen-00-00-02"] = one_file("run_gen.py")
    server.script.files["/cache/jobO.1.tar.gz"] = archive(words="from the sandbox\n")
    stored = server.storage / "in.1"
    stored.write_text("from the storage\n")
    transform = f"{server.url}/trf/user/runGen-00-00-02"
    parameters = (
        f"-j \"\" --sourceURL {server.url} -r . -a jobO.1.tar.gz -o \"{{'x.txt': 'user.x.txt'}}\" -i \"['in.1']\" "
        f'-p "{quote(command)}"'
    )
    step = {"command": transform, "args": f"--preprocess {parameters}"}
    return job(
        7,
        transformation=transform,
        jobPars=parameters,
        inFiles="in.1",
        inURLs=f"file://{stored}",
        outFiles="user.x.txt,job.log.tgz",
        scopeOut="user.x",
        scopeLog="user.x",
        logFile="job.log.tgz",
        ddmEndPointOut="DISK,DISK",
        secrets='{"TOKEN": "s3cret"}',
        container_name="docker://alpine:3",
        preprocess=step,
        postprocess={**step, "args": f"--postprocess {parameters}"},
        containerOptions={"containerExec": CONTAINER_EXEC, "containerImage": "docker://alpine:3", "execArgs": "--x"},
        **more,
    )


def test_the_main_step_runs_in_the_image(
    server: ScriptedServer, run_pilot: RunPilot, fake_apptainer: dict[str, str], tmp_path: Path
) -> None:
    command = "cat words %IN > x.txt; echo ${#TOKEN} $PandaID; echo '{\"n\": 1}' > userJobMetadata.json"
    server.script.jobs.append(container_job(server, command))
    assert run_pilot("--max-jobs", "1", **fake_apptainer) == 0
    final = server.final()
    assert final["job_status"] == "finished", final
    assert "=== exec script ===\n6 7\n" in final["stdout"]
    assert "s3cret" not in final["stdout"]
    assert json.loads(final["meta_data"]) == {"user_job_metadata": {"n": 1}}
    (stored,) = server.storage.rglob("user.x.txt")
    assert stored.read_text() == "from the sandbox\nfrom the storage\n"
    words = json.loads(Path(fake_apptainer["RECORD"]).read_text())
    home = words[words.index("--pwd") + 1]
    assert Path(home).parent.parent == tmp_path / "work"
    assert f"{home}:{home}" in words
    assert f"{server.storage}:{server.storage}:ro" in words  # the input is a link to there
    assert words[-4:] == ["docker://alpine:3", "/bin/sh", "-c", CONTAINER_EXEC]


def test_what_a_failing_main_step_left_is_collected(
    server: ScriptedServer, run_pilot: RunPilot, fake_apptainer: dict[str, str]
) -> None:
    server.script.jobs.append(container_job(server, "echo '{\"n\": 1}' > userJobMetadata.json; exit 4"))
    run_pilot("--max-jobs", "1", **fake_apptainer)
    final = server.final()
    assert (final["job_status"], final["pilot_error_code"], final["trans_exit_code"]) == ("failed", 1305, 4)
    assert json.loads(final["meta_data"]) == {"user_job_metadata": {"n": 1}}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"preprocess": {"command": "bash", "args": "-c 'exit 3'"}}, 1356, "preprocess ended with exit code 3"),
        ({"postprocess": {"command": "bash", "args": "-c 'exit 3'"}}, 1357, "postprocess ended with exit code 3"),
        ({"preprocess": {"command": "no-such-program"}}, 1346, "no-such-program"),
        ({"preprocess": "words"}, 1300, "preprocess is not a JSON object"),
        ({"postprocess": {"args": "x"}}, 1300, "postprocess has no command"),
        ({"coprocess": {"command": "x"}}, 1300, "coprocess"),
        ({"containerOptions": {"containerExec": "ls", "containerImage": "--privileged"}}, 1384, "'--privileged'"),
    ],
)
def test_steps_that_fail(
    changes: dict[str, Any],
    code: int,
    words: str,
    server: ScriptedServer,
    run_pilot: RunPilot,
    fake_apptainer: dict[str, str],
) -> None:
    server.script.jobs.append({**container_job(server, "touch x.txt"), **changes})
    assert run_pilot("--max-jobs", "1", **fake_apptainer) == 0
    final = server.final()
    assert (final["job_status"], final["pilot_error_code"]) == ("failed", code), final
    assert words in final["pilot_error_diag"]


def test_without_a_runtime_the_job_fails_with_what_is_missing(
    server: ScriptedServer, run_pilot: RunPilot, no_runtime: dict[str, str]
) -> None:
    server.script.jobs.append(container_job(server, "true"))
    run_pilot("--max-jobs", "1", **no_runtime)
    final = server.final()
    assert final["pilot_error_code"] == 1384
    assert "needs apptainer, podman or docker, and none of them is on PATH" in final["pilot_error_diag"]


def test_steps_without_a_container(server: ScriptedServer, run_pilot: RunPilot) -> None:
    """The steps' own shell text stays theirs, and definitions may come as JSON text."""
    server.script.jobs.append(
        job(
            7,
            jobPars="-c 'echo main; exit 0 # (\"'",
            preprocess=json.dumps({"command": "echo", "args": "before; exit 1"}).replace("; exit 1", ""),
            postprocess={"command": "echo", "args": "-n after; $HOME"},
        )
    )
    run_pilot("--max-jobs", "1")
    final = server.final()
    assert (final["job_status"], final["stdout"]) == ("finished", "before\nmain\nafter; $HOME")


def test_a_transformation_in_an_image(
    server: ScriptedServer, run_pilot: RunPilot, fake_apptainer: dict[str, str]
) -> None:
    """As with `prun --wrapExecInContainer`: only `container_name` is given."""
    server.script.jobs.append(job(7, jobPars="-c 'echo $0 in $PWD; echo $PANDA_JOB_DIR'", container_name="alpine:3"))
    run_pilot("--max-jobs", "1", **fake_apptainer)
    said = server.final()["stdout"].splitlines()
    assert said[0] == f"bash in {said[1]}"
    assert "docker://alpine:3" in json.loads(Path(fake_apptainer["RECORD"]).read_text())


def test_runcontainer_starts_its_container_itself(
    server: ScriptedServer, run_pilot: RunPilot, fake_apptainer: dict[str, str]
) -> None:
    server.script.files["/trf/user/runcontainer"] = one_file("run_container.py")
    server.script.jobs.append(
        job(
            7,
            transformation=f"{server.url}/trf/user/runcontainer",
            jobPars=f'-p "{quote("echo $PandaID")}" --containerImage docker://alpine:3',
            container_name="docker://alpine:3",
        )
    )
    run_pilot("--max-jobs", "1", **fake_apptainer)
    final = server.final()
    assert (final["job_status"], "\n7\n" in final["stdout"]) == ("finished", True), final
    assert json.loads(Path(fake_apptainer["RECORD"]).read_text())[2] == "/data"


def test_merged_logs_travel_in_the_log(server: ScriptedServer, run_pilot: RunPilot) -> None:
    server.script.files["/trf/user/runMerge-00-00-02"] = one_file("run_merge.py")
    names = [f"user.x.log.7.00000{n}.log.tgz" for n in (1, 2)]
    for name in names:
        (server.storage / name).write_bytes(archive(log="words"))
    server.script.jobs.append(
        job(
            7,
            transformation=f"{server.url}/trf/user/runMerge-00-00-02",
            jobPars=f"-r . {','.join(names)}:user.x.log.7.000003.log.tgz",
            inFiles=",".join(names),
            inURLs=",".join(f"file://{server.storage}/{name}" for name in names),
            outFiles="user.x.log.7.000003.log.tgz",
            logFile="user.x.log.7.000003.log.tgz",
            scopeLog="user.x",
            ddmEndPointOut="DISK",
        )
    )
    run_pilot("--max-jobs", "1")
    assert server.final()["job_status"] == "finished", server.final()
    (stored,) = (path for path in server.storage.rglob("*000003.log.tgz") if path.is_file())
    with tarfile.open(stored) as log:
        inner = log.extractfile("job.7.1/user.x.log.7.000003.log.tgz")
        assert inner is not None
        with tarfile.open(fileobj=inner) as merged:
            assert merged.getnames() == names


@pytest.mark.parametrize("secrets", ['{"A": "é"}', {"A": "é"}])
def test_secrets_come_as_text_or_as_an_object(secrets: Any, server: ScriptedServer, run_pilot: RunPilot) -> None:
    server.script.jobs.append(job(7, jobPars="-c 'cat panda_secrets.json'", secrets=secrets))
    run_pilot("--max-jobs", "1")
    assert json.loads(server.final()["stdout"]) == {"A": "é"}
