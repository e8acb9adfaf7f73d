"""`bamboo run` asks for what prun 2.2.0 asks for: both get the same options, and what they would send is compared."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from panda import NEWEST_CLIENT, program_folder
from patience import PATIENCE_SECONDS

from bamboo.client.cli import COMMANDS
from bamboo.client.cli.lazy import LazyGroup

#: Nothing listens there, and nothing is sent.
SERVER = "http://127.0.0.1:9"
HELLO = ("--exec", "echo hello %RNDM:3 > x.txt", "--outputs", "x.txt")
READS = ("--exec", "cat %IN > x.txt; touch y.log", "--inDS", "user.alice.a/,user.alice.b", "--outputs", "x.txt,*.log")
#: What physicists ask for, several things at once.
ASKED = {
    "nothing": (*HELLO, "--noBuild"),
    "build": (*HELLO, "--bexec", 'make all; echo "built"', "--nJobs", "3"),
    "brought by a build": (*HELLO, "--noCompile", "--useNewCode"),
    "merging": (*HELLO, "--noBuild", "--nJobs", "3", "--mergeOutput", "--mergeSingleFile"),
    "merging by a script": (
        *(*HELLO, "--bexec", "make", "--mergeOutput", "--mergeScript", "merge.sh %OUT %IN"),
        *("--mergeLog", "--nGBPerMergeJob", "5"),
    ),
    "container": (*HELLO, "--containerImage", "docker://alpine:3", "--mergeOutput"),
    "container on a platform": (*HELLO, "--containerImage", "docker://alpine:3", "--architecture", "aarch64"),
    "child": (*READS, "--noBuild", "--parentTaskID", "10000007"),
    "choice of inputs": (
        *(*READS, "--noBuild", "--match", "*.root,a[0-9]+_b", "--antiMatch", "bad*", "--nSkipFiles", "2"),
        *("--notExpandInDS", "--nFiles", "10", "--nFilesPerJob", "3"),
    ),
    "logs as inputs": (*READS, "--noBuild", "--useLogAsInput", "--forceStaged", "--nGBPerJob", "2"),
    "listed inputs": (*READS, "--noBuild", "--inputFileList", "list.txt", "--writeInputToTxt", "IN:in.txt"),
    "events of files": (*READS, "--noBuild", "--nEventsPerFile", "10", "--nEventsPerJob", "20", "--nJobs", "3"),
    "counted events": (*READS, "--noBuild", "--nEventsPerJob", "20", "--skipEmptyInput", "--maxNFilesPerJob", "50"),
    "outputs that may miss": (*READS, "--noBuild", "--allowNoOutput", r".*\.tgz,nothing"),
    "secondary datasets": (
        *(*READS, "--noBuild", "--secondaryDSs", "IN2:2:user.alice.mb:x.*:3,CAL:1:user.alice.cal/::0:list.txt"),
        *("--reusableSecondary", "IN2", "--nFilesPerJob", "1", "--writeInputToTxt", "IN:a.txt,IN2:b.txt"),
    ),
    "secondary datasets by ratio": (
        *(*READS, "--noBuild", "--secondaryDSs", "IN2:2:user.alice.mb/", "--notExpandSecDSs"),
        *("--useNumFilesInSecDSsAsRatio", "--parentTaskID", "10000007"),
    ),
    "secondary datasets alone": (*HELLO, "--noBuild", "--secondaryDSs", "IN2:1:user.alice.mb", "--nJobs", "4"),
    "addresses": (*HELLO, "--noBuild", "--pfnList", "list.txt", "--site", "A", "--nFilesPerJob", "1"),
    "some addresses": (
        *(*HELLO, "--noBuild", "--pfnList", "list.txt", "--site", "A", "--nFiles", "1", "--nEventsPerJob", "20"),
        *("--secondaryDSs", "IN2:1:user.alice.mb", "--execWithRealFileNames", "--writeInputToTxt", "IN:a.txt"),
    ),
    "inputs of others left out": (*READS, "--noBuild", "--skipFilesUsedBy", "10000001,10000002", "--respectLB"),
    "outputs by pattern": (
        *("--exec", "make", "--noBuild", "--outputs", r"x.txt,regex|d\d,LBL:y,regex|e.*"),
        *("--allowNoOutput", r"regex\|e.*"),
    ),
    "fields of a dataset": (*READS, "--noBuild", "--addNthFieldOfInDSToLFN", "2,3", "--destSE", "DISK"),
    "fields of a file": (*READS, "--noBuild", "--addNthFieldOfInFileToLFN", "2", "--inDsTxt", "list.txt"),
    "no logs": (*HELLO, "--noBuild", "--noSeparateLog", "--cpuTimePerEvent", "5", "--fixedCpuTime"),
    "needs": (
        *(*HELLO, "--noBuild", "--memory", "2000", "--nCore", "8", "--maxCore", "16", "--maxWalltime", "3"),
        *("--cpuTimePerEvent", "5", "--outDiskCount", "7", "--maxAttempt", "4", "--site", "A,B"),
    ),
    "one core": (*HELLO, "--noBuild", "--nCore", "1", "--site", "A", "--excludedSite", "B*,C", "--priority", "900"),
    "ways to run": (
        *(*HELLO, "--noBuild", "--useSecrets", "--noEmail", "--expertOnly_skipScout", "--disableAutoRetry"),
        *("--workingGroup", "higgs.ww", "--noLoopingCheck", "--debugMode", "--allowTaskDuplication"),
    ),
    "database release": (*READS, "--noBuild", "--dbRelease", "ddo.000001.v5:DBRelease-5.tar.gz", "--avoidVP"),
    "latest database release": (
        *(*HELLO, "--noBuild", "--dbRelease", "LATEST", "--secondaryDSs", "IN2:1:user.alice.mb", "--osMatching"),
    ),
    "ways to read": (*READS, "--noBuild", "--transferType", "root,davs"),
    "read in place": (*READS, "--noBuild", "--transferType", "direct"),
    "copied by transfer type": (*READS, "--noBuild", "--transferType", "file"),
    "copied against the transfer type": (*READS, "--noBuild", "--transferType", "direct", "--forceStaged"),
    "for a group": (
        *(*HELLO, "--noBuild", "--official", "--outDS", "group.cms.same", "--mergeOutput"),
        *("--workingGroup", "cms", "--descriptionInLFN", "nothing"),
    ),
    "datasets by a file": (*READS[:2], *READS[4:], "--noBuild", "--inOutDsJson", "pairs.json"),
    "below the work directory": (*HELLO, "--bexec", "make", "--mergeOutput", "--workDir", ".."),
}
#: Random, or of the program: the name of the archive, the dataset to gather in, who asks.
RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OWN = {"processingType", "cliParams"}


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "files" / "work"
    folder.mkdir(parents=True)
    (folder / "list.txt").write_text("two.root\n\none.root\n")
    (folder / "pairs.json").write_text('[{"inDS": "user.alice.a,user.alice.b/", "outDS": "user.alice.same"}]')
    return folder


def of_prun(options: tuple[str, ...], work_dir: Path, into: Path) -> dict[str, Any]:
    programs = program_folder(f"panda-client-{NEWEST_CLIENT}")
    claims = {"name": "Alice Example", "preferred_username": "alice", "groups": ["cms/production"]}
    token = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "none"}, claims))
    environ = {
        **dict.fromkeys(("PANDA_URL", "PANDA_URL_SSL", "PANDACACHE_URL"), f"{SERVER}/server/panda"),
        "PANDA_BEHIND_REAL_LB": "1",
        "PANDA_AUTH": "oidc",
        "PANDA_AUTH_VO": "bamboo",
        "PANDA_AUTH_ID_TOKEN": f"{token}.",
        "PANDA_SYS": str(programs),
        "PANDA_PYTHON_EXEC": str(programs / "bin" / "python"),
        "PANDA_CONFIG_ROOT": str(into.parent),
        "HOME": str(into.parent),
        "PATH": f"{programs / 'bin'}:/usr/local/bin:/usr/bin:/bin",
    }
    told = subprocess.run(
        ["prun", *options, "--noSubmit", "--dumpTaskParams", str(into)],
        cwd=work_dir,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert into.is_file(), told.stdout
    return dict(json.loads(into.read_text()))


@pytest.fixture
def of_ours(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def _ask(options: tuple[str, ...], work_dir: Path, into: Path) -> dict[str, Any]:
        monkeypatch.chdir(work_dir)
        monkeypatch.setenv("BAMBOO_USER", "alice")
        monkeypatch.setenv("BAMBOO_URL", SERVER)
        monkeypatch.delenv("BAMBOO_TOKEN", raising=False)
        words = ["run", *options, "--noSubmit", "--dumpTaskParams", str(into)]
        LazyGroup("bamboo", lazy=COMMANDS).main(words, prog_name="bamboo", standalone_mode=False)
        return dict(json.loads(into.read_text()))

    return _ask


def plain(parameters: dict[str, Any]) -> Any:
    """What is not random; the line that starts the command in its image is each program's own."""
    kept = {key: value for key, value in parameters.items() if key not in OWN}
    if steps := kept.get("multiStepExec"):
        assert steps["containerOptions"].pop("containerExec").endswith("/bin/sh __run_main_exec.sh")
    return json.loads(RANDOM.sub("RANDOM", json.dumps(kept)))


@pytest.mark.parametrize("options", ASKED.values(), ids=ASKED)
def test_the_same_options_ask_for_the_same(
    options: tuple[str, ...], work_dir: Path, tmp_path: Path, of_ours: Callable[..., dict[str, Any]]
) -> None:
    named = () if "--inOutDsJson" in options else ("--outDS", "user.alice.same")
    options = (*named, "--vo", "bamboo", *options)
    theirs = of_prun(options, work_dir, tmp_path / "theirs.json")
    ours = of_ours(options, work_dir, tmp_path / "ours.json")
    assert plain(ours) == plain(theirs)
    assert "bamboo-run" in ours["processingType"]
