"""The build transform: sources from the server, a library that run jobs can use."""

from __future__ import annotations

import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from bamboo.tests.pilot.scripted_server import ScriptedServer
from bamboo.tests.transforms.job_directory import JobDirectory, archive, members

NAME = "buildGen-00-00-01"
SOURCES = "sources.1.tar.gz"
LIBRARY = "user.x.1.lib.tgz"


def parameters(server: ScriptedServer, command: str = "", run_dir: str = ".") -> str:
    bexec = f'--bexec "{quote(command)}"' if command else ""
    return f"-i {SOURCES} -o {LIBRARY} --sourceURL {server.url} -r {run_dir} {bexec} --noCompile "


def test_what_make_builds_is_what_run_jobs_get(job_dir: JobDirectory, server: ScriptedServer, tmp_path: Path) -> None:
    server.script.files[f"/cache/{SOURCES}"] = archive(
        sub__Makefile="all:\n\tprintf '#!/bin/sh\\necho built $$1\\n' > tool\n\tln -s tool other\n", sub__README="words"
    )
    code, said = job_dir.run(NAME, parameters(server, "make all; echo done", "sub"))
    assert code == 0, said
    assert "done" in said
    assert not (job_dir.path / "workDir").exists()
    run = JobDirectory(tmp_path / "run", job_dir.quoted)
    (job_dir.path / LIBRARY).rename(run.path / LIBRARY)
    code, said = run.run(
        "runGen-00-00-02", f'-l {LIBRARY} -r sub -p "{quote("chmod +x tool; other $HOME; cat README")}"'
    )
    assert (code, "built /" in said, "words" in said) == (0, True, True), said


def test_without_a_command_the_sources_are_the_library(job_dir: JobDirectory, server: ScriptedServer) -> None:
    server.script.files[f"/cache/{SOURCES}"] = archive(a__b="content")
    assert job_dir.run(NAME, parameters(server))[0] == 0
    assert members(job_dir.path / LIBRARY) == {"a/b": "content"}


def test_links_in_a_library(tmp_path: Path, server: ScriptedServer) -> None:
    """A library is always one that run jobs take: links stay when they lead to something in it."""
    directory, outside = JobDirectory(tmp_path / "job"), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("from outside")
    server.script.files[f"/cache/{SOURCES}"] = archive(lib__so="1", lib__deep__x="2")
    links = (
        f"cd lib; ln -s so near; ln -s deep folder; ln -s $PWD/so absolute; cd deep; ln -s ../so up; ln so hard; cd ..;"
        f"ln so hard; ln -s {outside}/file copied; ln -s {outside} dropped; ln -s nowhere dangling; mkfifo pipe"
    )
    code, said = directory.run(NAME, parameters(server, links))
    assert code == 0, said
    assert "left out: lib/dropped is a link to" in said
    assert "left out: lib/pipe is neither a file nor a directory" in said
    run = JobDirectory(tmp_path / "run")
    (directory.path / LIBRARY).rename(run.path / LIBRARY)
    look = "cd lib; cat near folder/x absolute deep/up hard copied; stat -c %F near copied folder; ls -m"
    code, said = run.run("runGen-00-00-02", f'-l {LIBRARY} -p "{quote(look)}"')
    assert code == 0, said
    assert "12111from outsidesymbolic link\nregular file\nsymbolic link\n" in said
    assert "absolute, copied, dangling, deep, folder, hard, near, so\n" in said


@pytest.mark.parametrize(
    ("sources", "changed", "code", "words"),
    [
        ("broken", "-o a/b", 10, "-o: 'a/b' is not a plain file name"),
        ("broken", "-i", 10, "-i"),
        ("broken", "--sourceURL file:///etc", 10, "not an http(s) address"),
        ("missing", "", 20, "HTTP 404"),
        ("broken", "", 20, "cannot be unpacked"),
        ("good", "--bexec exit%203", 30, "ended with code 3"),
        ("good", "--bexec kill%20-9%20%24%24", 30, "ended with code 137"),
        ("good", f"--bexec mkdir%20../{LIBRARY}", 40, "cannot be written"),
    ],
)
def test_each_fault_has_its_code(
    sources: str, changed: str, code: int, words: str, tmp_path: Path, server: ScriptedServer
) -> None:
    if sources != "missing":
        server.script.files[f"/cache/{SOURCES}"] = archive(a="b") if sources == "good" else b"not a tar"
    ended, said = JobDirectory(tmp_path).run(NAME, f"{parameters(server)} {changed}")
    assert (ended, words in said) == (code, True), said
    assert not (tmp_path / LIBRARY).is_file()


def test_secrets_are_not_in_the_library(tmp_path: Path, server: ScriptedServer) -> None:
    server.script.files[f"/cache/{SOURCES}"] = archive(a="b")
    job_dir = JobDirectory(tmp_path)
    job_dir.write("panda_secrets.json", '{"___file___:key": "eA==", "TOKEN": "t"}')
    assert job_dir.run(NAME, parameters(server, "cat key > copy; echo $TOKEN >> copy"))[0] == 0
    with tarfile.open(tmp_path / LIBRARY) as tar:
        assert sorted(tar.getnames()) == ["a", "copy"]
    assert members(tmp_path / LIBRARY)["copy"] == "xt\n"
