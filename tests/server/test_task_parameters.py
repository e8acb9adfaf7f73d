"""The model of task parameters: what it reads, what it refuses, and that its docs page is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bamboo
from bamboo.core.errors import Invalid
from bamboo.core.task_parameters import KEYS, UNSUPPORTED, TaskParameters
from bamboo.core.task_pieces import JobParameter

CAPTURES = Path(__file__).parent / "captures"


def captured(name: str = "hello", **changes: Any) -> dict[str, Any]:
    given = json.loads((CAPTURES / f"{name}.json").read_text())["task_parameters"]
    return {**given, **changes}


def faults_of(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        TaskParameters.parse(raw)
    return {fault.where.removeprefix("task_parameters."): f"{fault.what}; {fault.do}" for fault in refused.value.faults}


def constant(value: str) -> dict[str, str]:
    return {"type": "constant", "value": value}


def template(kind: str, value: str, **more: Any) -> dict[str, Any]:
    return {"type": "template", "param_type": kind, "value": value, "dataset": "user.alice.d", **more}


def test_a_hello_world() -> None:
    parameters = TaskParameters.parse(captured())
    assert (parameters.task_name, parameters.vo, parameters.prod_source_label) == ("user.alice.a2/", "atlas", "user")
    assert parameters.n_jobs_without_input == 3
    assert parameters.source_url == "http://127.0.0.1:18080"
    assert [item.value for item in parameters.outputs] == ["user.alice.$JEDITASKID._${SN/P}.x.txt"]
    assert parameters.log is not None and parameters.log.dataset == "user.alice.a2.log/"
    assert parameters.inputs == ()


IN = constant(quote("wc %IN; date +%F"))


@pytest.mark.parametrize("word", ["%IN", "%{IN}", "%IN,x", "a%IN"])
def test_nothing_could_fill_the_inputs_of_the_command(word: str) -> None:
    """Each job failed on it three times."""
    told = faults_of(captured(jobParameters=[constant("-p"), constant(quote(f"wc {word}"))]))
    assert told == {
        "jobParameters[1].value": "the command has %IN, and the task has no input that could fill it;"
        " name an input dataset, or take %IN out"
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"jobParameters": [constant(quote("date +%F %INN %IN2 %IN_ %in"))]},
        {"jobParameters": [IN], "transPath": "http://here/trf/own"},
        {"jobParameters": [IN], "pfnList": ["a"]},
        {"jobParameters": [IN, template("input", "${IN}")], "noInput": None},
    ],
)
def test_other_words_of_the_command_are_left_alone(changes: dict[str, Any]) -> None:
    assert TaskParameters.parse(captured(**changes))


def test_inputs_and_their_streams() -> None:
    parameters = TaskParameters.parse(captured("datasets"))
    (main,) = parameters.inputs
    assert (main.stream, main.datasets, main.expand) == ("IN", ("user.alice.input/",), True)
    assert (parameters.n_files, parameters.n_files_per_job) == (10, 2)
    several = captured("datasets")
    several["jobParameters"] = [
        *several["jobParameters"],
        template("input", "${CAL}", dataset="a.b, c.d", hidden=True, nFilesPerJob=1),
        constant("--inMap \"{'IN': ${IN/T}, 'CAL': ${CAL/T}}\""),
    ]
    assert [(item.stream, item.datasets) for item in TaskParameters.parse(several).inputs][1] == ("CAL", ("a.b", "c.d"))


@pytest.mark.parametrize(
    ("changes", "n_jobs"),
    [
        ({"nEvents": 10, "nEventsPerJob": 3}, 4),
        ({"nEvents": 10, "nEventsPerJob": None}, 10),
        ({"nEvents": None, "nEventsPerJob": None, "nFiles": 7, "nFilesPerJob": 2}, 4),
    ],
)
def test_how_many_jobs_without_input(changes: dict[str, Any], n_jobs: int) -> None:
    assert TaskParameters.parse(captured(**changes)).n_jobs_without_input == n_jobs


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"nFilesPerJb": 1}, "nFilesPerJb", "no such parameter"),
        (
            {"nFilesPerJob": "many"},
            "nFilesPerJob",
            "'many' is no whole number; give one, such as 4: input files of a job",
        ),
        ({"mergeOutput": "perhaps"}, "mergeOutput", "is neither true nor false; give true or false: merge outputs"),
        ({"maxWalltime": []}, "maxWalltime", "a list is no number; give one, such as 4.5: hours that a job may run"),
        ({"jobParameters": "x"}, "jobParameters", "'x' is no list; put it in brackets: the pieces of a job's command"),
        ({"log": 5}, "log", "5 is no object; give keys and values in braces: template of the log archive"),
        ({"taskName": 5}, "taskName", "5 is no text; put it in quotes: name of the task"),
        ({"vo": None}, "vo", "missing; add it: organisation that the task belongs to, such as `bamboo`"),
        ({"prodSourceLabel": None}, "prodSourceLabel", "missing; add it: activity: `user` for a task of yours"),
        (
            {"jobParameters": [{"type": "constant"}]},
            "jobParameters[0].value",
            "missing; add it: text with placeholders",
        ),
        ({"buildSpec": {}}, "buildSpec.archiveName", "missing; add it: uploaded archive of sources"),
        ({"nFilesPerJob": 0}, "nFilesPerJob", "0 is too small; give at least 1: input files of a job"),
        ({"maxAttempt": 51}, "maxAttempt", "51 is too large; give at most 50"),
        ({"taskName": "x" * 256}, "taskName", "at most 255"),
        ({"taskName": "a b"}, "taskName", "has the wrong form; it has to match"),
        ({"vo": "a/b"}, "vo", "has the wrong form; it has to match"),
        ({"prodSourceLabel": ""}, "prodSourceLabel", "give at least 1"),
        ({"nEvents": 10**12, "nEventsPerJob": 1}, "nEvents", "makes 1000000000000 jobs"),
        ({"nEvents": None}, "jobParameters", "how many jobs"),
        ({"sourceURL": None}, "sourceURL", "${SURL}"),
        ({"sourceURL": "ftp://x"}, "sourceURL", "has the wrong form; it has to match"),
        (
            {"jobParameters": [{"type": "odd", "value": ""}]},
            "jobParameters[0].type",
            "'odd' is no choice; give 'constant' or 'template'",
        ),
        ({"jobParameters": [{"type": "template", "value": "x"}]}, "jobParameters[0].param_type", "missing"),
        ({"jobParameters": [constant("${NOBODY}")]}, "jobParameters[0].value", "nothing fills ${NOBODY}"),
        ({"jobParameters": [template("output", "x.txt")]}, "jobParameters[0].value", "same file"),
        ({"jobParameters": [template("output", "a,b${SN}")]}, "jobParameters[0].value", "no name for a file"),
        ({"jobParameters": [template("output", "a/${SN}")]}, "jobParameters[0].value", "no name for a file"),
        ({"jobParameters": [template("output", "${SN}", dataset="")]}, "jobParameters[0].dataset", "missing"),
        (
            {"jobParameters": [template("output", "${SN}", datset="")]},
            "jobParameters[0].datset",
            "no such key; did you mean 'dataset'?",
        ),
        ({"jobParameters": [template("input", "x")], "noInput": False}, "jobParameters[0].value", "no placeholder"),
        (
            {"jobParameters": [template("input", "${IN}", dataset=None)], "noInput": False},
            "jobParameters[0].dataset",
            "mis",
        ),
        (
            {"jobParameters": [template("input", "${IN}", include="(")], "noInput": None},
            "jobParameters[0].include",
            "regu",
        ),
        ({"jobParameters": [template("input", "${IN}")]}, "noInput", "reads user.alice.d"),
        ({"minGranularity": 5}, "minGranularity", "means nothing without dynamicNumEvents"),
        ({"jobParameters": [template("log", "${SN}")]}, "jobParameters[0].param_type", "key `log`"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], where: str, what: str) -> None:
    faults = faults_of(captured(**changes))
    assert next(iter(faults)) == where and len({place.partition(".")[0] for place in faults}) == 1
    assert what in faults[where]


def test_queues_or_the_task_say_how_many_events_a_job_has() -> None:
    sizes = {"nFilesPerJob": 2, "nGBPerJob": 3, "nEventsPerJob": 4, "nEvents": None}
    read = {"jobParameters": [template("input", "${IN}")], "noInput": None}
    assert list(faults_of(captured(dynamicNumEvents=True, **read, **sizes))) == [
        "nFilesPerJob",
        "nGBPerJob",
        "nEventsPerJob",
    ]
    assert faults_of(captured(dynamicNumEvents=True, nEventsPerJob=None)) == {
        "dynamicNumEvents": "given, though there is no input whose events could be shared out; name an input dataset"
    }


def test_two_outputs_or_inputs_of_one_name() -> None:
    twice = [template("output", "${SN}.x"), template("output", "${SN}.x")]
    assert set(faults_of(captured(jobParameters=twice))) == {"jobParameters[0].value", "jobParameters[1].value"}
    inputs = [template("input", "${IN}"), template("input", "${IN/T}")]
    assert list(faults_of(captured(jobParameters=inputs, noInput=None))) == ["jobParameters[1].value"]


@pytest.mark.parametrize("key", UNSUPPORTED)
def test_features_that_are_not_there_are_refused_but_not_their_absence(key: str) -> None:
    assert "not supported yet" in faults_of(captured(**{key: {"some": "thing"}}))[key]
    nothings: tuple[Any, ...] = (None, False, "", [], {})
    for nothing in nothings:
        TaskParameters.parse(captured(**{key: nothing}))


def test_a_wrong_field_does_not_hide_the_other_faults() -> None:
    items = [{"type": "odd", "value": ""}, template("output", "same"), constant("${NOBODY}")]
    assert set(faults_of(captured(jobParameters=items, coreCount="x", nope=1))) == {
        "nope",
        "coreCount",
        "jobParameters[0].type",
        "jobParameters[1].value",
    }


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
items = st.dictionaries(st.sampled_from(["type", "value", "param_type", "dataset", "offset", "files"]), values)


@given(st.dictionaries(st.sampled_from(list(KEYS)), values, max_size=6), st.lists(items | values, max_size=3))
def test_anything_is_read_or_refused_with_its_faults(changes: dict[str, Any], pieces: list[Any]) -> None:
    try:
        TaskParameters.parse({**captured(), **({"jobParameters": pieces} if pieces else {}), **changes})
    except Invalid as refused:
        assert refused.faults
        assert all(fault.where.startswith("task_parameters.") and fault.what for fault in refused.faults)


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        ({"ramCount": 1_000_000, "coreCount": 4096}, "ramCount", "4096000000 MB for a job"),
        ({"ramCount": 2**31 - 1, "baseRamCount": 1}, "ramCount", "2147483648 MB for a job"),
        ({"workDiskCount": 2**31 - 1, "workDiskUnit": "GB"}, "workDiskCount", "at most 2147483647 MB"),
        ({"site": "A" * 129}, "site", "at most 128 characters"),
    ],
)
def test_what_no_column_holds_is_refused(given: dict[str, Any], where: str, what: str) -> None:
    """Each number was allowed by itself; what follows from them was more than PostgreSQL takes, and the task waited."""
    with pytest.raises(Invalid) as refused:
        TaskParameters.parse(captured(**given))
    assert [fault.where for fault in refused.value.faults] == [f"task_parameters.{where}"]
    assert what in str(refused.value)


def test_the_docs_page_lists_every_key() -> None:
    page = (Path(str(bamboo.__file__)).parent / "docs" / "task_parameters.md").read_text()
    documented = re.findall(r"^\| `([A-Za-z0-9_]+)` \|", page, re.MULTILINE)
    item_keys = list(_by_key(JobParameter))
    assert sorted(documented) == sorted([*KEYS, *item_keys])
    for model in (TaskParameters, JobParameter):
        for key, field in _by_key(model).items():
            assert f"| `{key}` | {field.description} |" in page


def _by_key(model: type[Any]) -> dict[str, Any]:
    def camel(name: str) -> str:
        return re.sub(r"_([a-z])", lambda found: str(found[1]).upper(), name)

    return {str(field.alias or camel(name)): field for name, field in model.model_fields.items()}
