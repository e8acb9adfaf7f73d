"""The merge transform: by kind of output, by the user's script, and the logs."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from bamboo.tests.pilot.scripted_server import ScriptedServer
from bamboo.tests.transforms.job_directory import JobDirectory, archive, members

NAME = "runMerge-00-00-02"


def test_the_client_s_parameters(job_dir: JobDirectory, server: ScriptedServer) -> None:
    """As in prun_d_merge.json: text outputs and logs, and a sandbox that nobody needs is not fetched."""
    for n in "12":
        job_dir.write(f"user.a.7._00000{n}.x.txt", f"{n}\n")
        (job_dir.path / f"user.a.d.log.7.00000{n}.log.tgz").write_bytes(archive(log=n))
    code, said = job_dir.run(
        NAME,
        f"-r . -a jobO.1.tar.gz --sourceURL {server.url}"
        " user.a.7._000001.x.txt,user.a.7._000002.x.txt:user.a.7._000003.x.txt"
        " user.a.d.log.7.000001.log.tgz,user.a.d.log.7.000002.log.tgz:user.a.d.log.7.000003.log.tgz",
    )
    assert code == 0, said
    assert job_dir.read("user.a.7._000003.x.txt") == "1\n2\n"
    with tarfile.open(job_dir.path / "user.a.d.log.7.000003.log.tgz") as tar:
        assert tar.getnames() == ["user.a.d.log.7.000001.log.tgz", "user.a.d.log.7.000002.log.tgz"]
    assert not (job_dir.path / "workDir").exists()


@pytest.mark.parametrize(("script", "printed"), [("mymerge", "-o m a b"), ("mymerge %OUT %IN '$HOME'", "m a,b $HOME")])
@pytest.mark.parametrize("source", ["library", "sandbox"])
def test_scripts(source: str, script: str, printed: str, job_dir: JobDirectory, server: ScriptedServer) -> None:
    content = archive(sub__mymerge='#!/bin/bash\necho "$@"; cat a b > m\n')
    server.script.files["/cache/jobO.1.tar.gz"] = content
    (job_dir.path / "lib.tgz").write_bytes(content)
    job_dir.write("a", "A")
    job_dir.write("b", "B")
    where = "-l lib.tgz" if source == "library" else f"-a jobO.1.tar.gz --sourceURL {server.url}"
    code, said = job_dir.run(NAME, f'-r sub -j "{script}" {where} a,b:m --useLocalIO')
    assert code == 0, said
    assert f"\n{printed}\n" in said
    assert job_dir.read("m") == "AB"


def test_a_failing_script(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    for name in "abcd":
        directory.write(name)
    code, said = directory.run(NAME, '-j "echo %IN; exit 5" a,b:m c,d:n')
    assert (code, "c,d" in said) == (5, False)


def test_tar_files_with_members_of_all(job_dir: JobDirectory) -> None:
    (job_dir.path / "a.tgz").write_bytes(archive(p1="1", sub__q="2"))
    (job_dir.path / "b.tgz").write_bytes(archive(p2="3", sub__r="4"))
    assert job_dir.run(NAME, "a.tgz,b.tgz:m.XYZ.log.tgz")[0] == 0
    assert members(job_dir.path / "m.XYZ.log.tgz") == {"p1": "1", "sub/q": "2", "p2": "3", "sub/r": "4"}


def test_tar_files_with_the_same_members(job_dir: JobDirectory) -> None:
    for name in "ab":
        (job_dir.path / f"{name}.tgz").write_bytes(archive(p1=name, same="x"))
    assert job_dir.run(NAME, "a.tgz,b.tgz:m.tgz.1")[0] == 0
    assert members(job_dir.path / "m.tgz.1") == {"a.tgz/p1": "a", "a.tgz/same": "x", "b.tgz/p1": "b", "b.tgz/same": "x"}


def test_a_hostile_tar_file_is_not_merged(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path / "job")
    for name in ("a.tgz", "b.tgz"):
        with tarfile.open(directory.path / name, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("../../evil"))
    code, said = directory.run(NAME, "a.tgz,b.tgz:m.tgz")
    assert (code, "leads out of the work directory" in said) == (143, True)
    assert not list(tmp_path.rglob("evil"))


def test_compressed_text_is_one_file_after_the_other(job_dir: JobDirectory) -> None:
    for name in "ab":
        (job_dir.path / f"{name}.txt.gz").write_bytes(gzip.compress(name.encode() + b"\0"))
    assert job_dir.run(NAME, "a.txt.gz,b.txt.gz:m.txt.gz")[0] == 0
    assert gzip.decompress((job_dir.path / "m.txt.gz").read_bytes()) == b"a\0b\0"


def test_a_single_file_is_merged_on_request_only(job_dir: JobDirectory) -> None:
    job_dir.write("a", "A")
    assert job_dir.run(NAME, '-j "exit 3" a:m')[0] == 0
    assert job_dir.read("m") == "A"
    assert job_dir.run(NAME, '-j "exit 3" --mergeSingleFile a:n')[0] == 3


HADD = '#!/bin/sh\necho "hadd $*"; shift; cat "$@" > m.root\n'


def test_root_files_need_hadd(job_dir: JobDirectory, no_runtime: dict[str, str], tmp_path: Path) -> None:
    for name in "ab":
        job_dir.write(f"{name}.root", name)
    code, said = job_dir.run(NAME, "a.root,b.root:m.root", **no_runtime)
    assert (code, "m.root needs hadd of ROOT, which is not on PATH here" in said) == (12, True), said
    program = tmp_path / "few_programs" / "hadd"
    program.write_text(HADD)
    program.chmod(0o755)
    code, said = job_dir.run(NAME, "a.root,b.root:m.root", PATH=f"{program.parent}:/usr/bin:/bin")
    assert (code, "hadd m.root a.root b.root" in said) == (0, True), said
    assert job_dir.read("m.root") == "ab"


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ("-r .", 10, "nothing to merge"),
        ("-r . a,b", 10, "'a,b' is not of the form in1,in2:out"),
        ("-r . a,../b:c", 10, "'../b' in 'a,../b:c' is not a plain file name"),
        ("-r . a,b:a", 10, "output a would overwrite another file"),
        ("-r . a,b:m a:m", 10, "output m would overwrite another file"),
        ("-r . a,gone:m", 11, "input not in the job directory: gone"),
        ("-r . a,binary:m", 12, "binary is neither text, tar nor ROOT"),
        ("-r ../.. a,b:m", 10, "leads out of the work directory"),
    ],
)
def test_faults(parameters: str, code: int, words: str, tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    directory.write("a")
    directory.write("b")
    directory.write("binary", "\0")
    ended, said = directory.run(NAME, parameters)
    assert (ended, words in said) == (code, True), said
    assert not (tmp_path / "m").exists()
