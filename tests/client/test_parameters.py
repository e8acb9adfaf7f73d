"""Task parameters: how commands are quoted, outputs named, inputs shared out."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.client.cli.options import kebab_case
from bamboo.client.command_words import command_faults, unfilled
from bamboo.client.naming import LONGEST_DATASET_NAME, default_out_ds, out_ds_faults, output_faults, parse_outputs
from bamboo.client.parameters import command_items, task_parameters
from bamboo.client.secondary import FORM, Secondary, parse_secondaries, read_addresses
from bamboo.client.spec import TaskSpec
from bamboo.core.errors import Invalid


def parameters(**options: Any) -> dict[str, Any]:
    spec = TaskSpec(**{"exec": "true", "out_ds": "user.alice.t", **options})
    spec.check("alice")
    return task_parameters(spec, archive="jobO.x.tar.gz", source_url="http://s")


def command_line(items: list[dict[str, Any]]) -> str:
    """What the server makes of items: values in order, spaces between unless padding is off."""
    return "".join(i["value"] + ("" if i.get("padding") is False else " ") for i in items if not i.get("hidden"))


PIECES = st.one_of(
    st.text(),
    st.sampled_from(
        ["%IN", "%OUT", "%RNDM:10", "%RNDM=3", "%SKIPEVENTS", "%MAXEVENTS", "%", "%%", '"', "'", "$", "\\", "`"]
    ),
)


@given(st.lists(PIECES).map("".join).filter(lambda text: text.isascii() or "\ud800" not in text))
def test_the_command_comes_back_as_it_was(command: str) -> None:
    items = list(command_items(command))
    line = "".join(item["value"] for item in items)
    assert not re.search(r"[\s\"'`\\;|&<>]", line.replace("${", "").replace("}", ""))
    back = []
    for item in items:
        if item["type"] == "constant":
            back.append(unquote(item["value"]))
        elif item["value"] == "${SEQNUMBER}":
            back.append(f"%RNDM:{item['offset']}")
        else:
            back.append("%" + item["value"].strip("${}"))
    plain = re.sub(r"%RNDM[:=](\d+)", lambda found: f"%RNDM:{int(found[1])}", command)
    assert "".join(back) == plain


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1), st.booleans())
def test_the_build_command_comes_back_as_it_was(command: str, merges: bool) -> None:
    """And the jobs unpack what the build job has packed, merge jobs too."""
    made = parameters(bexec=command, merge_output=merges, outputs=("x.txt",))
    assert made["buildSpec"]["archiveName"] == "jobO.x.tar.gz"
    words = made["buildSpec"]["jobParameters"].split('"')
    assert words[0].endswith("--bexec ")
    assert unquote(words[1]) == command
    assert [item["value"] for item in made["jobParameters"] if item["value"].startswith(("-a", "-l"))] == ["-l ${LIB}"]
    assert ("mergeSpec" in made) == merges
    assert not merges or "-l ${LIB} " in made["mergeSpec"]["jobParameters"]


def test_a_running_number_is_cut_out() -> None:
    items = list(command_items("sim --seed %RNDM:100 %IN"))
    assert items[0]["value"] == "sim%20--seed%20"
    assert items[1] == {
        "type": "template",
        "param_type": "pseudo_input",
        "value": "${SEQNUMBER}",
        "dataset": "seq_number",
        "offset": 100,
        "padding": False,
    }
    assert items[2]["value"] == "%20%25IN"


def test_the_first_event_of_a_job_is_counted_from_a_base() -> None:
    """Manual ch. 4.2: `%FIRSTEVENT:100`. It went to the command as it stood."""
    items = list(command_items("sim %FIRSTEVENT:100 %FIRSTEVENT"))
    numbers = [(item["value"], item["offset"]) for item in items if item["type"] == "template"]
    assert numbers == [("${FIRSTEVENT}", 100), ("${FIRSTEVENT}", 0)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("a %IN %IN2 %{IN} %OUT %RNDM:3 %FIRSTEVENT:1 %MAXEVENTS %OTHER", []),
        ("a %NOSUCH %RNDM", ["%NOSUCH", "%RNDM"]),
        ("date +%Y%m%dT%H%M%S; printf '%s %%NOSUCH'", []),
    ],
)
def test_words_that_nothing_fills_are_told(command: str, expected: list[str]) -> None:
    assert unfilled(command, ["IN", "IN2", "OTHER"]) == expected


@pytest.mark.parametrize("word", ["%SEGMENT_NAME", "%DB:a.dataset:file"])
def test_what_only_panda_fills_is_refused(word: str) -> None:
    assert [fault.where for fault in command_faults(f"python toy.py {word}", [])] == ["exec"]


def test_the_command_line_of_the_worked_example() -> None:
    line = command_line(
        parameters(exec="cat %IN > out.txt", in_ds=("user.alice.in",), outputs=("out.txt",))["jobParameters"]
    )
    assert line.strip() == (
        '-j "" --sourceURL ${SURL} -r . -a jobO.x.tar.gz '
        """-o "{'out.txt': 'user.alice.$JEDITASKID._${SN/P}.out.txt'}" """
        '-i "${IN/T}" -p "cat%20%25IN%20%3E%20out.txt"'
    )


def test_a_file_of_input_names_is_asked_for_last() -> None:
    items = parameters(in_ds=("d",), write_input_to_txt="IN:list.txt")["jobParameters"]
    assert items[-1] == {"type": "constant", "value": "--writeInputToTxt IN:list.txt "}


@pytest.mark.parametrize(
    ("options", "n_events", "per_job"),
    [
        ({}, 1, 1),
        ({"n_jobs": 5}, 5, 1),
        ({"n_events": 100, "n_jobs": 8}, 100, 12),
        ({"n_events": 3, "n_jobs": 8}, 3, 1),
        ({"n_events": 100, "n_events_per_job": 10}, 100, 10),
        ({"n_events_per_job": 10}, 10, 10),
        ({"n_events_per_job": 10, "n_jobs": 4}, 40, 10),
    ],
)
def test_jobs_without_input(options: dict[str, Any], n_events: int, per_job: int) -> None:
    made = parameters(**options)
    assert (made["nEvents"], made["nEventsPerJob"], made["noInput"]) == (n_events, per_job, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"n_jobs": 3}, {}),
        ({"n_jobs": 3, "n_files_per_job": 4}, {"nFiles": 12, "nFilesPerJob": 4}),
        ({"n_jobs": 3, "n_files": 10}, {"nFiles": 10, "nFilesPerJob": 3}),
        ({"n_files": 10}, {"nFiles": 10}),
        ({"n_gb_per_job": 5}, {"nGBPerJob": 5}),
        ({"n_events_per_job": 50, "n_jobs": 2}, {"nEvents": 100, "nEventsPerJob": 50, "useRealNumEvents": True}),
    ],
)
def test_jobs_over_input(options: dict[str, Any], expected: dict[str, int]) -> None:
    made = parameters(in_ds=("a", "b"), **options)
    keys = ("nFiles", "nFilesPerJob", "nGBPerJob", "nEvents", "nEventsPerJob", "useRealNumEvents")
    assert {key: made[key] for key in keys if key in made} == expected
    assert made["dsForIN"] == "a,b"
    assert "noInput" not in made


def test_sites_and_limits() -> None:
    made = parameters(
        site=("A", "B"), excluded_site=("C*",), memory_mb=2000, max_walltime_hours=5, max_attempt=3, priority=9
    )
    assert (made["site"], made["includedSite"], made["excludedSite"]) == (None, ["A", "B"], ["C*"])
    assert (made["ramCount"], made["ramCountUnit"], made["maxWalltime"]) == (2000, "MBPerCore", 5)
    assert (made["maxAttempt"], made["currentPriority"]) == (3, 9)
    assert parameters(site=("A",))["site"] == "A"


@pytest.mark.parametrize(
    ("given_output", "local", "dataset", "template"),
    [
        ("x.txt", "x.txt", "user.alice.t_x.txt/", "user.alice.$JEDITASKID._${SN/P}.x.txt"),
        ("LBL:x.txt", "x.txt", "user.alice.t_LBL/", "user.alice.$JEDITASKID._${SN/P}.x.txt"),
        ("*.log", "*.log", "user.alice.t_XYZ.log.tgz/", "user.alice.$JEDITASKID._${SN/P}.XYZ.log.tgz"),
        ("regex|a:z.*", "regex|a:z.*", "user.alice.t_0/", "regex|a:z.*"),
        (r"regex|d\d", r"regex|d\d", "user.alice.t_0/", r"regex|d\d"),
    ],
)
def test_outputs_are_named_as_prun_names_them(given_output: str, local: str, dataset: str, template: str) -> None:
    assert output_faults([given_output], "user.alice.t") == []
    (output,) = parse_outputs([given_output], "user.alice.t")
    assert (output.local, output.dataset, output.lfn_template) == (local, dataset, template)


LOCAL_NAMES = st.from_regex(r"[A-Za-z0-9_.+-]{1,12}", fullmatch=True)
LABELS = st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True)


@given(
    st.lists(
        st.tuples(st.none() | LABELS, LOCAL_NAMES),
        max_size=10,
        unique_by=(lambda pair: pair[1], lambda p: p[0] or p[1]),
    )
)
def test_the_map_of_outputs_reads_back(pairs: list[tuple[str | None, str]]) -> None:
    outputs = [f"{label}:{name}" if label else name for label, name in pairs]
    if output_faults(outputs, "user.alice.t"):
        # a label may be the very name of another output
        assert len({output.dataset for output in parse_outputs(outputs, "user.alice.t")}) < len(outputs)
        return
    items = parameters(outputs=tuple(outputs))["jobParameters"]
    maps = [item["value"] for item in items if item["value"].startswith("-o ")]
    assert len(maps) == (1 if pairs else 0)
    if maps:
        found = ast.literal_eval(maps[0].removeprefix('-o "').removesuffix('"'))
        assert list(found) == [name for _, name in pairs]
        assert list(found.values()) == [item["value"] for item in items if item.get("param_type") == "output"]


@pytest.mark.parametrize("output", ["", "a b", "a/b", "it's", 'a"b', "LBL:", "b@d:x", "ünï", "${x}"])
def test_impossible_outputs(output: str) -> None:
    assert output_faults([output], "user.alice.t")


def test_patterns_are_counted_by_themselves() -> None:
    """As prun does: the first is 0, whatever stands before it."""
    datasets = [output.dataset for output in parse_outputs(["x", "regex|a", "L:y", "regex|b"], "user.alice.t")]
    assert datasets == ["user.alice.t_x/", "user.alice.t_0/", "user.alice.t_L/", "user.alice.t_1/"]


def test_too_many_outputs() -> None:
    assert not output_faults([f"f{number}" for number in range(10)], "user.alice.t")
    assert output_faults([f"f{number}" for number in range(11)], "user.alice.t")


@pytest.mark.parametrize(
    "name",
    [
        "user.bob.x",
        "alice.x",
        "user.alice.",
        "user.alice.a b",
        "user.alice.a%b",
        "user.alice.ü",
        "user.alice." + "x" * 130,
    ],
)
def test_impossible_names_of_outputs(name: str) -> None:
    assert out_ds_faults(name, "alice")


def test_names_that_are_fine() -> None:
    assert not out_ds_faults(default_out_ds("alice"), "alice")
    longest = "user.alice.".ljust(LONGEST_DATASET_NAME - 1, "x")
    assert not out_ds_faults(longest, "alice")


MB = Secondary("MB", "user.alice.mb")
MERGED = {"merge_output": True, "outputs": ("x",)}


def test_a_task_of_the_event_service() -> None:
    given = parameters(exec="run %IN %SKIPEVENTS %MAXEVENTS", in_ds=("a",), n_events_per_worker=5, **MERGED)
    assert (given["nEventsPerWorker"], given["mergeOutput"], "nEventsPerJob" in given) == (5, True, False)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"exec": " "}, "exec"),
        ({"exec": "a\0b"}, "exec"),
        ({"n_jobs": 0}, "nJobs"),
        ({"memory_mb": -1}, "memory"),
        ({"max_attempt": 51}, "maxAttempt"),
        ({"n_gb_per_job": 5}, "nGBPerJob"),
        ({"in_ds": ("a b",)}, "inDS"),
        ({"write_input_to_txt": "IN:x"}, "writeInputToTxt"),
        ({"n_skip_files": 2}, "nSkipFiles"),
        ({"input_files": ("a",)}, "inputFileList"),
        ({"bexec": "make", "no_build": True}, "noBuild"),
        ({"bexec": "a\0b"}, "bexec"),
        ({"no_compile": True, "container_image": "docker://a"}, "containerImage"),
        ({"container_image": "a b"}, "containerImage"),
        ({"merge_output": True}, "mergeOutput"),
        ({"merge_script": "m.sh"}, "mergeScript"),
        ({"merge_output": True, "outputs": ("x",), "merge_script": 'm "a"'}, "mergeScript"),
        ({"n_gb_per_merge_job": 3}, "nGBPerMergeJob"),
        ({"parent_task_id": 0}, "parentTaskID"),
        ({"allow_no_output": ("(",)}, "allowNoOutput"),
        ({"pfn_list": ("a",), "in_ds": ("b",)}, "pfnList"),
        ({"pfn_list": ("a", "b c")}, "pfnList"),
        ({"skip_files_used_by": ("1",), "pfn_list": ("a",)}, "skipFilesUsedBy"),
        ({"respect_lb": True}, "respectLB"),
        ({"add_nth_field_of_in_ds_to_lfn": "2"}, "addNthFieldOfInDSToLFN"),
        ({"in_ds": ("a",), "add_nth_field_of_in_ds_to_lfn": "2,b"}, "addNthFieldOfInDSToLFN"),
        ({"not_expand_sec_dss": True}, "notExpandSecDSs"),
        ({"use_num_files_in_sec_dss_as_ratio": True, "secondary_dss": (MB,)}, "useNumFilesInSecDSsAsRatio"),
        ({"secondary_dss": (MB, MB)}, "secondaryDSs"),
        ({"secondary_dss": (replace(MB, name="IN"),), "in_ds": ("a",)}, "secondaryDSs"),
        ({"secondary_dss": (replace(MB, name="2"),)}, "secondaryDSs"),
        ({"secondary_dss": (replace(MB, dataset="a b"),)}, "secondaryDSs"),
        ({"secondary_dss": (replace(MB, n_files=0),)}, "secondaryDSs"),
        ({"exec": "cat %{IN}"}, "exec"),
        ({"db_release": "a.b"}, "dbRelease"),
        ({"transfer_type": "root,ftp"}, "transferType"),
        ({"official": True, "out_ds": "user.alice.x"}, "outDS"),
        ({"n_events_per_worker": 5, "merge_output": True, "outputs": ("x",)}, "nEventsPerWorker"),
        ({"n_events_per_worker": 5, "in_ds": ("a",)}, "nEventsPerWorker"),
        ({"n_events_per_worker": 5, "in_ds": ("a",), **MERGED, "n_events_per_job": 5}, "nEventsPerJob"),
        ({"n_events_per_worker": 5, "in_ds": ("a",), **MERGED, "n_files_per_job": 2}, "nFilesPerJob"),
    ],
)
def test_each_fault_names_its_option(options: dict[str, Any], where: str) -> None:
    with pytest.raises(Invalid) as raised:
        parameters(**options)
    assert [fault.where for fault in raised.value.faults] == [where]


def test_a_secondary_dataset_with_all_that_can_be_said_of_it(tmp_path: Path) -> None:
    names = tmp_path / "a:b"  # what follows the last colon is a path, whatever is in it
    names.write_text("one\n\n two \n")
    given_text = f"IN2:2:user.alice.mb:x.*:3:{names}, CAL:1:user.alice.cal/"
    assert parse_secondaries(given_text, ["CAL"]) == (
        Secondary("IN2", "user.alice.mb", 2, "x.*", 3, ("one", "two")),
        Secondary("CAL", "user.alice.cal/", reusable=True),
    )


def test_every_secondary_dataset_that_cannot_be_read_is_told_at_once() -> None:
    with pytest.raises(Invalid) as raised:
        parse_secondaries("IN2:2,IN3:x:d,IN4:1:d::-1,IN5:1:d::0:/nowhere", ["IN9"])
    told = [(fault.where, fault.what, fault.do) for fault in raised.value.faults]
    assert {(where, do) for where, _, do in told} == {("secondaryDSs", FORM)}
    for what, word in zip((what for _, what, _ in told), ("IN2:2", "'x'", "'-1'", "/nowhere"), strict=True):
        assert word in what
    with pytest.raises(Invalid, match=r"reusableSecondary.*no stream IN9"):
        parse_secondaries("IN2:1:d", ["IN2", "IN9"])


def test_addresses_are_sorted_and_comments_are_none() -> None:
    assert read_addresses("root://h//b\n\n#c\n a#1 \n") == ("a#1", "root://h//b")


@pytest.mark.parametrize(
    ("name", "kebab"),
    [
        ("secondaryDSs", "secondary-dss"),
        ("useNumFilesInSecDSsAsRatio", "use-num-files-in-sec-dss-as-ratio"),
        ("nGBPerJob", "n-gb-per-job"),
        ("inDS", "in-ds"),
    ],
)
def test_the_usual_spelling_of_an_option(name: str, kebab: str) -> None:
    assert kebab_case(name) == kebab
