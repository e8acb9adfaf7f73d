"""The container transform, with a program that takes apptainer's place."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from bamboo.core.containers import ContainerError, container_command, find_runtime
from bamboo.tests.transforms.job_directory import JobDirectory, members

NAME = "runcontainer"


def test_a_command_in_an_image(job_dir: JobDirectory, fake_apptainer: dict[str, str], tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    (storage / "stored").write_text("words\n")
    (job_dir.path / "in.1").symlink_to(storage / "stored")
    job_dir.write(
        "panda_secrets.json", json.dumps({"TOKEN": "s3cret", "___file___:key": base64.b64encode(b"k").decode()})
    )
    command = quote('cat %IN > out.txt; cat names; echo "[$TOKEN] [$MODE]"; stat -c %a key; echo 1 > p1; echo $0')
    code, said = job_dir.run(
        NAME,
        f'-p "{command}" --containerImage alpine:3 -i "[\'in.1\']" --writeInputToTxt IN:names -j "" -r . '
        "-o \"{'out.txt': 'user.x.out.txt', '*': 'all.tgz'}\" --containerEnv MODE=a;b --debug --unknown x",
        **fake_apptainer,
    )
    assert code == 0, said
    assert "in.1\n[s3cret] [a;b]\n600\n" in said
    assert job_dir.read("user.x.out.txt") == "words\n"
    assert members(job_dir.path / "all.tgz") == {"names": "in.1\n", "p1": "1\n"}
    words = json.loads(Path(fake_apptainer["RECORD"]).read_text())
    work_dir = job_dir.path.resolve() / "workDir"
    assert words[:7] == ["exec", "--pwd", "/data", "--bind", f"{work_dir}:/data", "--bind", f"{storage}:{storage}:ro"]
    assert words[7:10] == ["docker://alpine:3", "/bin/sh", "-c"]
    assert "s3cret" not in json.dumps(words)
    assert not work_dir.exists()


def test_the_code_and_the_metadata_come_back(tmp_path: Path, fake_apptainer: dict[str, str]) -> None:
    directory = JobDirectory(tmp_path / "job")
    command = quote("echo '{\"n\": 1}' > userJobMetadata.json; exit 9")
    code, _ = directory.run(NAME, f"--image /cvmfs/x.sif --containerDataDir /d -p {command}", **fake_apptainer)
    assert code == 9
    assert json.loads(directory.read("jobReport.json")) == {"user_job_metadata": {"n": 1}}
    words = json.loads(Path(fake_apptainer["RECORD"]).read_text())
    assert words[1:3] == ["--pwd", "/d"]
    assert "/cvmfs/x.sif" in words


def test_without_a_runtime_it_says_what_is_missing(tmp_path: Path, no_runtime: dict[str, str]) -> None:
    code, said = JobDirectory(tmp_path / "job").run(NAME, "-p true --containerImage alpine:3", **no_runtime)
    assert (code, "needs apptainer, podman or docker, and none of them is on PATH" in said) == (12, True), said


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ("-o {}", 10, "-p, the command, is missing; --containerImage is missing"),
        ("-p true --containerImage x --containerDataDir data", 10, "'data' is not an absolute path"),
        ("-p true --containerImage x --containerEnv a-b=c", 10, "'a-b=c' is not a variable"),
        ("-p true --containerImage --privileged", 12, "'--privileged' is not the name of a container image"),
        ("-p true --containerImage x -i \"['gone']\"", 11, "gone"),
    ],
)
def test_faults(parameters: str, code: int, words: str, tmp_path: Path, fake_apptainer: dict[str, str]) -> None:
    ended, said = JobDirectory(tmp_path / "job").run(NAME, parameters, **fake_apptainer)
    assert (ended, words in said) == (code, True), said
    assert not Path(fake_apptainer["RECORD"]).exists()


def test_podman_and_docker_get_their_own_arguments() -> None:
    for name, user in (("podman", "--userns=keep-id"), ("docker", "--user")):
        program = f"/usr/bin/{name}"
        argv = container_command(program, "docker://alpine:3", "ls; id", "/job", "/data", ["/s"], ["A", "B"])
        words = " ".join(word for word in argv if not word.startswith(user) and not word[0].isdigit())
        assert words == (
            f"{program} run --rm --entrypoint /bin/sh --workdir /data --volume /job:/data --volume /s:/s:ro "
            "--env A --env B alpine:3 -c ls; id"
        )
        with pytest.raises(ContainerError, match="only apptainer runs it"):
            container_command(program, "/cvmfs/x.sif", "ls", "/job", "/data")


@pytest.mark.parametrize("path", ["/a:b", "/a,b"])
def test_paths_that_cannot_be_shared(path: str) -> None:
    with pytest.raises(ContainerError, match="a comma or a colon"):
        container_command("/bin/apptainer", "x", "ls", path, "/data")


def test_apptainer_comes_first(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="none of them is on PATH"):
        find_runtime(str(tmp_path))
    for name in ("docker", "podman", "apptainer"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        assert find_runtime(str(tmp_path)) == str(tmp_path / name)
