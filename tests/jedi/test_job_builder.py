"""What a job is told: placeholders, command line, outputs (client protocol 7.6)."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.sql import job_queries
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi, reads


def constant(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "constant", "value": value, **more}


def number(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "template", "param_type": "number", "value": value, **more}


def generated(jedi: Jedi, *pieces: dict[str, Any], files: tuple[str, ...] = (), **parameters: Any) -> Jedi:
    """Jobs of a task of these pieces, over these files if there are any."""
    if files:
        jedi.store("user.alice.input", *files)
    jedi.queue(corecount=8)
    jedi.submit(*pieces, **parameters)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert jedi.task().status == "running", jedi.task().error_dialog
    return jedi


def lines(jedi: Jedi) -> list[str]:
    """The command lines of the jobs, in their order."""
    with jedi.engine.connect() as tx:
        found = job_queries.parameters_of(tx, list(jedi.jobs()))
    return [found[pandaid] for pandaid in jedi.jobs()]


def outputs(jedi: Jedi) -> list[str]:
    with jedi.engine.connect() as tx:
        statement = sa.select(t.job_files.c.lfn).where(t.job_files.c.type.in_(["output", "log"]))
        return list(tx.scalars(statement.order_by(t.job_files.c.row_id)))


def test_the_worked_example(jedi: Jedi) -> None:
    """`prun --exec "cat %IN > out.txt" --inDS … --outDS user.alice.b --outputs out.txt --nFilesPerJob 2 --noBuild`."""
    lfn = "user.alice.$JEDITASKID._${SN/P}.out.txt"
    parameters = {
        "taskName": "user.alice.b/",
        "vo": "wlcg",
        "prodSourceLabel": "user",
        "nFilesPerJob": 2,
        "sourceURL": "http://127.0.0.1:18080",
        "log": {
            "type": "template",
            "param_type": "log",
            "value": "user.alice.b.log.$JEDITASKID.${SN}.log.tgz",
            "dataset": "user.alice.b.log/",
        },
        "jobParameters": [
            constant('-j "" --sourceURL ${SURL}'),
            constant("-r ."),
            constant("__delimiter__", hidden=True),
            constant("-a jobO.1234.tar.gz"),
            {
                "type": "template",
                "param_type": "output",
                "value": lfn,
                "dataset": "user.alice.b_out.txt/",
                "hidden": True,
            },
            constant(f"-o \"{{'out.txt': '{lfn}'}}\""),
            reads("user.alice.input/", '-i "${IN/T}"'),
            constant('-p "', padding=False),
            constant("cat%20%25IN%20%3E%20out.txt", padding=False),
            constant('"'),
        ],
    }
    jedi.store("user.alice.input", "f1", "f2", "f3", "f4")
    jedi.queue()
    task = jedi.submit_raw(parameters)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert lines(jedi)[1] == (
        '-j "" --sourceURL http://127.0.0.1:18080 -r . -a jobO.1234.tar.gz '
        f"-o \"{{'out.txt': 'user.alice.{task}._000002.out.txt'}}\" "
        "-i \"['f3', 'f4']\" -p \"cat%20%25IN%20%3E%20out.txt\""
    )
    assert outputs(jedi)[2:] == [f"user.alice.{task}._000002.out.txt", f"user.alice.b.log.{task}.000002.log.tgz"]


def test_inputs_as_a_list_and_as_text(jedi: Jedi) -> None:
    pieces = [reads("user.alice.input", "${IN}"), constant("and ${IN/T} in $JEDITASKID")]
    generated(jedi, *pieces, files=("b", "a"), nFilesPerJob=2)
    assert lines(jedi) == [f"a,b and ['a', 'b'] in {jedi.jeditaskid}"]


def test_an_input_may_have_any_name(jedi: Jedi) -> None:
    pieces = [reads("user.alice.input", "--data ${DATA}"), constant("${DATA/T}")]
    generated(jedi, *pieces, files=("a", "b"), nFilesPerJob=2)
    assert lines(jedi) == ["--data a,b ['a', 'b']"]


def test_numbers(jedi: Jedi) -> None:
    pieces = [
        number("${SN} ${SN/P}"),
        number("${SEQNUMBER}", offset=100),
        number("${SEQNUMBER}"),
        number("${FIRSTEVENT}", offset=7),
        number("${SKIPEVENTS} ${MAXEVENTS}"),
    ]
    generated(jedi, *pieces, noInput=True, nEvents=30, nEventsPerJob=10)
    assert lines(jedi) == [
        "000001 000001 101 1 7 0 10",
        "000002 000002 102 2 17 0 10",
        "000003 000003 103 3 27 0 10",
    ]
    assert {row.n_events for row in jedi.jobs().values()} == {10}


def test_random_numbers_as_prun_asks_for_them(jedi: Jedi) -> None:
    seed = {"type": "template", "param_type": "pseudo_input", "dataset": "seq_number"}
    pieces = [{**seed, "value": "${SEQNUMBER}", "offset": 5}, {**seed, "value": "${SEED}", "offset": 50}]
    generated(jedi, *pieces, noInput=True, nEvents=2, nEventsPerJob=1)
    assert lines(jedi) == ["6 51", "7 52"]


def test_the_number_of_events_is_unknown_without_them(jedi: Jedi) -> None:
    generated(jedi, reads("user.alice.input", "${IN}"), number("${MAXEVENTS}"), files=("a",))
    assert lines(jedi) == ["a -1"]


def test_a_number_belongs_to_its_input_in_every_attempt(jedi: Jedi) -> None:
    """Otherwise a retried job would do the events of another one; its files have a new serial number all the same."""
    pieces = [number("${SN} ${SEQNUMBER} ${FIRSTEVENT}")]
    generated(jedi, *pieces, noInput=True, nEvents=20, nEventsPerJob=10)
    first = jedi.move(jedi.claim(1), JobState.RUNNING, JobState.HOLDING)
    jedi.book(first, JobState.FAILED)
    jedi.run(JobGenerator)
    assert lines(jedi) == ["000001 1 0", "000002 2 10", "000003 1 0"]
    assert len(set(outputs(jedi))) == 3


@pytest.mark.parametrize(("fields", "middle"), [("2", "phys"), ("3,1", "01.data"), ("9,2", "phys"), ("", "")])
def test_fields_of_the_inputs_name(jedi: Jedi, fields: str, middle: str) -> None:
    output = {
        "type": "template",
        "param_type": "output",
        "value": "o.${MIDDLENAME}.${SN}",
        "dataset": "user.alice.o/",
    }
    inputs = reads("user.alice.input", "${IN}", hidden=True)
    generated(jedi, inputs, output, files=("data.phys.01.root",), addNthFieldToLFN=fields, useFileAsSourceLFN=True)
    assert outputs(jedi)[0] == f"o.{middle}.000001"
    assert lines(jedi) == [f"o.{middle}.000001"]


def test_padding_and_hidden_pieces(jedi: Jedi) -> None:
    pieces = [constant("a", padding=False), constant("b"), constant("c", hidden=True), constant("  d ")]
    generated(jedi, *pieces, noInput=True, nEvents=1)
    assert lines(jedi) == ["ab   d"]


def test_file_names_are_not_read_as_placeholders(jedi: Jedi) -> None:
    generated(jedi, reads("user.alice.input", "${IN}"), files=("x${SN}$JEDITASKID",))
    assert lines(jedi) == ["x${SN}$JEDITASKID"]


def test_what_the_task_asks_for_is_asked_for_its_jobs(jedi: Jedi) -> None:
    jedi.store("user.alice.input", "a", "b", size_bytes=3 << 20)
    generated(
        jedi,
        reads("user.alice.input"),
        currentPriority=77,
        coreCount=4,
        ramCount=1000,
        workDiskCount=100,
        workDiskUnit="MB",
        maxWalltime=2,
        workingGroup="higgs",
        processingType="panda-client",
        transPath="http://trf/runGen",
        nFilesPerJob=2,
    )
    (job,) = jedi.jobs().values()
    expected = {
        "current_priority": 77,
        "core_count": 4,
        "min_ram_count_mb": 4000,
        "max_disk_count_mb": 618,  # 6 MB of inputs, 512 MB for outputs, 100 MB of work
        "max_walltime_seconds": 7200,
        "working_group": "higgs",
        "processing_type": "panda-client",
        "transformation": "http://trf/runGen",
        "vo": "wlcg",
        "prod_source_label": "user",
        "user_name": "alice",
        "n_input_files": 2,
        "input_file_bytes": 6 << 20,
        "attempt_nr": 1,
        "serial_nr": 1,
        "queue": "Q",
    }
    assert {name: job._mapping[name] for name in expected} == expected


def test_jobs_know_their_files(jedi: Jedi) -> None:
    output = {
        "type": "template",
        "param_type": "output",
        "value": "o.${SN}",
        "dataset": "user.alice.o/",
        "destination": "TAPE",
        "allowNoOutput": True,
    }
    generated(jedi, reads("user.alice.input", hidden=True), output, files=("a",))
    with jedi.engine.connect() as tx:
        source, to_tape, usual = job_queries.files_of(tx, next(iter(jedi.jobs())))
    assert (source.type, source.lfn, source.url, source.checksum, source.dataset_name) == (
        "input",
        "a",
        "file:///a",
        "ad:00000001",
        "user.alice.input",
    )
    assert (to_tape.storage, to_tape.may_be_missing, to_tape.scope) == ("TAPE", True, "user.alice")
    assert (usual.storage, usual.may_be_missing) == ("DISK", False)
