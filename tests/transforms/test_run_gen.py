"""The general run transform, run as pilots run it: one served file in a job directory."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from bamboo.server.transforms import one_file
from bamboo.tests.pilot.scripted_server import ScriptedServer, job
from bamboo.tests.transforms.job_directory import JobDirectory, archive, members

NAME = "runGen-00-00-02"


def test_a_prun_job(job_dir: JobDirectory, server: ScriptedServer) -> None:
    server.script.files["/cache/sources.1.tar.gz"] = archive(
        sub__script="#!/bin/bash\ncat $1 > out.txt; echo '{\"n\": 1}' > userJobMetadata.json\n"
    )
    job_dir.write("in.1", "words")
    code, said = job_dir.run(
        NAME,
        f'-j "" --sourceURL {server.url} -r sub -a sources.1.tar.gz '
        "-o \"{'out.txt':'user.x.out.txt', 'p*': 'user.x.tgz'}\" -i \"['in.1']\" --inMap \"{'IN': ['in.1']}\" "
        f'-p "{quote("script %IN; echo a > p1; echo b > p2; echo %INNER")}" --useAthenaPackages --givenPFN --rootVer 6',
    )
    assert code == 0, said
    assert job_dir.read("user.x.out.txt") == "words"
    assert members(job_dir.path / "user.x.tgz") == {"p1": "a\n", "p2": "b\n"}
    assert json.loads(job_dir.read("jobReport.json")) == {"user_job_metadata": {"n": 1}}
    assert "%INNER" in said
    assert not (job_dir.path / "workDir").exists()


def test_library_streams_and_name_files(job_dir: JobDirectory) -> None:
    tool = '#!/bin/bash\ncat names; echo "[$1] [$2] [$3] [$4]"\n'
    (job_dir.path / "lib.tgz").write_bytes(archive(tool=tool))
    for name in ("a", "b", "c"):
        job_dir.write(name, name)
    code, said = job_dir.run(
        NAME,
        f"-l lib.tgz -r . -p \"{quote('tool %IN %IN2 %{IN}x %OUT')}\" -o \"{{'y.txt': 'l1', 'z*': 'l2', 'w': 'l3'}}\" "
        "--inMap \"{'IN': ['a', 'b'], 'IN2': ['c']}\" --writeInputToTxt IN:names,IN2:more",
    )
    assert code == 0
    assert "a\nb\n[a,b] [c] [a,bx] [y.txt,w]\n" in said


def test_addresses_are_not_looked_for(job_dir: JobDirectory) -> None:
    code, said = job_dir.run(NAME, f"-i \"['root://h//f?a=1', 'b']\" --givenPFN -p \"{quote('echo [%IN]')}\"")
    assert (code, "[root://h//f?a=1,b]" in said) == (0, True)


def test_outputs_under_their_real_names(job_dir: JobDirectory) -> None:
    """A word by itself is replaced, a part of one is not; what was made under its local name is found all the same."""
    command = "echo one > x.txt; mkdir d; echo two > d/x.txt; cat ./x.txt d/x.txt > max.txt; echo [%OUT] z > y"
    code, said = job_dir.run(
        NAME,
        f'--execWithRealFileNames -p "{quote(command)}" '
        "-o \"{'x.txt': 'u.1.x.txt', 'max.txt': 'u.1.max', 'y': 'u.1.y', 'p*': 'u.1.p'}\"",
    )
    assert code == 0, said
    assert "echo one > u.1.x.txt; mkdir d; echo two > d/x.txt; cat u.1.x.txt d/x.txt > u.1.max;" in said
    assert job_dir.read("u.1.max") == "one\ntwo\n"
    assert job_dir.read("u.1.y") == "[u.1.x.txt,u.1.max,u.1.y] z\n"
    code, _ = job_dir.run(NAME, "--execWithRealFileNames -p 'n=q.txt;echo%20a>${n}' -o \"{'q.txt': 'u.2'}\"")
    assert code == 0
    assert job_dir.read("u.2") == "a\n"


@pytest.mark.parametrize("name", ["a;touch hacked", "$(touch hacked)", "a b", "a'b", "`id`", "a\nb"])
def test_the_name_of_an_input_is_no_command(name: str, job_dir: JobDirectory) -> None:
    """Datasets are made by others."""
    job_dir.write(name)
    code, said = job_dir.run(NAME, f'-i {shlex.quote(repr([name]))} -p "{quote("echo %IN")}"')
    assert (code, "use --writeInputToTxt" in said) == (10, True), said
    assert not list(job_dir.path.rglob("hacked"))


REGEX = quote("echo 1 > z1; echo 2 > z2; echo 3 > xz; mkdir z3")


def test_matches_of_a_regex_are_one_file_when_the_output_has_a_name(job_dir: JobDirectory) -> None:
    code, said = job_dir.run(NAME, f"-o \"{{r'regex|z\\d': 'user.x.z.tgz'}}\" -p \"{REGEX}\"")
    assert code == 0, said
    assert members(job_dir.path / "user.x.z.tgz") == {"z1": "1\n", "z2": "2\n"}


def test_matches_of_a_regex_keep_their_names_when_the_output_has_none(job_dir: JobDirectory) -> None:
    code, _ = job_dir.run(NAME, f"-o \"{{'regex|z.*': 'regex|z.*'}}\" -p \"{REGEX}\"")
    assert code == 0
    assert {path.name for path in job_dir.path.iterdir()} == {NAME, "z1", "z2"}


def test_patterns_leave_inputs_alone_and_need_not_match(job_dir: JobDirectory) -> None:
    job_dir.write("in.txt", "input")
    code, said = job_dir.run(
        NAME,
        f"-i \"['in.txt']\" -o \"{{'*.txt': 'a.tgz', '*.no': 'b.tgz', 'c': 'c.lfn'}}\" --allowNoOutput=b.tgz "
        f'-p "{quote("echo new > new.txt; ln -s new.txt link.txt")}"',
    )
    assert code == 0
    assert members(job_dir.path / "a.tgz") == {"new.txt": "new\n", "link.txt": "new\n"}
    assert "output *.no was not made: as it may be\n" in said
    assert "output c was not made: the job needs it as c.lfn\n" in said
    assert job_dir.read("in.txt") == "input"


def test_outputs_never_go_through_links_to_inputs(job_dir: JobDirectory, tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    stored.write_text("precious")
    for name in ("jobReport.json", "in.1"):
        (job_dir.path / name).symlink_to(stored)
    command = quote('echo "{}" > userJobMetadata.json; echo 1 > a1; ln -s a1 b')
    code, _ = job_dir.run(NAME, f"-o \"{{'a*': 'in.1', 'b': 'jobReport.json'}}\" -p \"{command}\"")
    assert code == 0
    assert stored.read_text() == "precious"


@pytest.mark.parametrize(
    ("report", "user", "expected"),
    [
        ('{"exitCode": 0}', '{"n": [1]}', {"exitCode": 0, "user_job_metadata": {"n": [1]}}),
        ('{"exitCode": 0}', None, {"exitCode": 0}),
        ("no json", '{"n": 1}', {"user_job_metadata": {"n": 1}}),
        (None, '["a list"]', None),
        (None, '{"n": "' + "x" * (1 << 20) + '"}', None),
        (None, "[" * 100_000, None),
    ],
    ids=["both", "report", "bad report", "list", "too large", "too deep"],
)
def test_metadata(report: str | None, user: str | None, expected: object, tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    files = {"jobReport.json": report, "userJobMetadata.json": user}
    (tmp_path / "lib.tgz").write_bytes(archive(**{name: text for name, text in files.items() if text is not None}))
    assert directory.run(NAME, "-l lib.tgz -p true")[0] == 0
    made = tmp_path / "jobReport.json"
    assert (json.loads(made.read_text()) if made.exists() else None) == expected


def secrets(job_dir: JobDirectory, **given: str) -> None:
    job_dir.write(
        "panda_secrets.json", json.dumps({name.replace("FILE_", "___file___:"): v for name, v in given.items()})
    )


def test_secrets_are_variables_and_files_and_no_outputs(job_dir: JobDirectory) -> None:
    content = bytes(range(256))
    secrets(job_dir, TOKEN="it's $HOME", FILE_key=base64.b64encode(content).decode())
    command = quote('echo "[$TOKEN]"; stat -c %a key; sha1sum < key; echo x > made')
    code, said = job_dir.run(NAME, f"-o \"{{'*': 'all.tgz'}}\" -p \"{command}\"")
    assert code == 0, said
    assert "[it's $HOME]\n600\n4916d6bdb7f78e6803698cab32d1586ea457dfc8" in said
    assert members(job_dir.path / "all.tgz") == {"made": "x\n"}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('{"___file___:../../x": "eA=="}', 10, "'../../x' is not a plain file name"),
        ('{"___file___:x": "not base64"}', 10, "'x' is not base64"),
        ("not json, s3cret", 10, "is not a JSON object"),
        ('{"A=B": "s3cret", "N": 1}', 0, "secret A=B cannot be an environment variable"),
    ],
)
def test_secrets_that_cannot_be_used(text: str, code: int, words: str, tmp_path: Path) -> None:
    job_dir = JobDirectory(tmp_path)
    job_dir.write("panda_secrets.json", text)
    ended, said = job_dir.run(NAME, "-p true")
    assert (ended, words in said, "s3cret" in said) == (code, True, False), said


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("exit 255", 1), ("kill -9 $$", 137), ("true", 0)])
def test_the_commands_code_is_passed_on(command: str, code: int, tmp_path: Path) -> None:
    assert JobDirectory(tmp_path).run(NAME, f'-p "{quote(command)}"')[0] == code


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ("-r .", 10, "-p is missing"),
        ('-p x -o "{"', 10, "-o: '{' is not a dict"),
        ("-p x -o \"__import__('os').system('touch hacked')\"", 10, "is not a dict"),
        (
            "-p x -o \"{'a': '../b'}\" -i \"{\"",
            10,
            "-i: '{' is not a list in Python's notation; -o: '../b' is not a plain",
        ),
        ("-p x -o \"{'regex|(': 'b'}\"", 10, "not a regular expression"),
        ("-p x -r ../..", 10, "leads out of the work directory"),
        ("-p x --preprocess --postprocess", 10, "two steps"),
        ("-p x --postprocess", 10, "--preprocess did not run here"),
        ("-p x --inMap \"{'IN': ['a']}\" --writeInputToTxt IN2:x", 11, "input not in the job directory: a"),
        ("-p x --writeInputToTxt IN2:x", 10, "no stream for 'IN2:x'"),
        ("-p x -i \"['gone']\"", 11, "gone"),
        ("-p x -l nothing.tgz", 143, "nothing.tgz"),
        ("-p x -a s.tgz --sourceURL file:///etc", 10, "not an http(s) address"),
    ],
)
def test_bad_arguments(parameters: str, code: int, words: str, tmp_path: Path) -> None:
    job_dir = JobDirectory(tmp_path)
    ended, said = job_dir.run(NAME, parameters)
    assert (ended, words in said) == (code, True), said
    assert not list(tmp_path.rglob("hacked"))


def test_a_value_may_look_like_an_option(job_dir: JobDirectory) -> None:
    code, said = job_dir.run(NAME, '-j "echo" -p "-p=-j" -r -o -o "{}" --unknown -z')
    assert code == 0
    assert "/workDir/-o: echo -p=-j\n" in said
    assert "ignored: --unknown -z" in said


def test_a_missing_sandbox_is_not_asked_for_twice(job_dir: JobDirectory, server: ScriptedServer) -> None:
    code, said = job_dir.run(NAME, f"-p x -a s.tgz --sourceURL {server.url}")
    assert code == 146
    assert said.count("cannot download") == 0
    assert "ERROR: unable to fetch source tarball from web" in said


PARAMETERS = (
    "-j \"\" -r sub -l lib.tgz -o \"{'out.txt': 'user.x.out.txt'}\" -i \"['in.1']\" "
    f'-p "{quote("tool %IN; stat -c %a key")}"'
)


def test_steps_in_a_moved_directory(job_dir: JobDirectory, tmp_path: Path) -> None:
    """The main step runs wherever a container has the job directory, by /bin/sh, and prints its script."""
    tool = "#!/bin/sh\ncat $1 > out.txt; echo ${#TOKEN}; echo '{\"n\": 1}' > userJobMetadata.json\n"
    (job_dir.path / "lib.tgz").write_bytes(archive(sub__tool=tool))
    job_dir.write("in.1", "it's it")
    secrets(job_dir, TOKEN="s3cret's", FILE_key="eA==")
    code, said = job_dir.run(NAME, f"--preprocess {PARAMETERS}")
    assert code == 0, said
    elsewhere = JobDirectory(tmp_path / "container", job_dir.quoted)
    shutil.rmtree(elsewhere.path)
    job_dir.path.rename(elsewhere.path)
    code, printed = elsewhere.shell("cat __run_main_exec.sh; /bin/sh __run_main_exec.sh")
    assert code == 0, printed
    assert "8\n600\n" in printed
    assert not (elsewhere.path / "__run_main_env.sh").exists()
    assert not list(elsewhere.path.rglob("key"))
    code, later = elsewhere.run(NAME, f"--postprocess {PARAMETERS}")
    assert code == 0, later
    assert elsewhere.read("user.x.out.txt") == "it's it"
    assert json.loads(elsewhere.read("jobReport.json")) == {"user_job_metadata": {"n": 1}}
    assert "s3cret" not in said + printed + later
    assert not (elsewhere.path / "workDir").exists()


def test_the_main_step_passes_the_code_on(job_dir: JobDirectory) -> None:
    command = quote("echo 'one)'; exit 7 # done")
    assert job_dir.run(NAME, f'--preprocess -p "{command}"')[0] == 0
    assert job_dir.shell("sh __run_main_exec.sh") == (7, "one)\n")


def test_a_pilot_runs_it(server: ScriptedServer, run_pilot: Callable[..., int]) -> None:
    """The whole way of a prun job: transform and sandbox from the server, output to storage."""
    server.script.files["/cache/sources.1.tar.gz"] = archive(hello="#!/bin/bash\necho $1 > out.txt\n")
    server.script.files[f"/trf/user/{NAME}"] = one_file("run_gen.py")
    options = f"-j \"\" --sourceURL {server.url} -r . -a sources.1.tar.gz -o \"{{'out.txt': 'user.x.out.txt'}}\""
    server.script.jobs.append(
        job(
            7,
            transformation=f"{server.url}/trf/user/{NAME}",
            jobPars=f'{options} -p "{quote("hello world; true && echo done")}"',
            outFiles="user.x.out.txt",
            scopeOut="user.x",
            ddmEndPointOut="DISK",
        )
    )
    assert run_pilot("--max-jobs", "1") == 0
    final = server.final()
    assert final["job_status"] == "finished", final
    assert "done" in final["stdout"]
    (stored,) = server.storage.rglob("user.x.out.txt")
    assert stored.read_text() == "world\n"
