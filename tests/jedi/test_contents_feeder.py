"""Contents Feeder: every file of the inputs once, whatever comes between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Retriable
from bamboo.core.input_choice import NO_LOGS
from bamboo.jedi.agents import ContentsFeeder, PostProcessor, TaskRefiner, contents_feeder
from bamboo.jedi.task_agent import Round
from bamboo.plugins.contracts import Contents, DatasetView
from bamboo.plugins.generic.catalogue import LocalCatalogue
from bamboo.plugins.hookspecs import hookimpl
from bamboo.tests.jedi.rounds import Jedi, reads

NAMES = [f"f{n}" for n in range(7)]


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents_feeder, "PAGE", 2)


def feed(jedi: Jedi) -> Round:
    (report,) = jedi.run(ContentsFeeder)
    assert isinstance(report, Round)
    return report


def submitted(jedi: Jedi, *pieces: dict[str, Any], **parameters: Any) -> Jedi:
    jedi.submit(*pieces, **parameters)
    jedi.run(TaskRefiner)
    return jedi


def test_all_files_are_entered(jedi: Jedi, pages_of_two: None) -> None:
    jedi.store("user.alice.in", *NAMES)
    assert feed(submitted(jedi, maxAttempt=4)) == Round(done=1)
    assert jedi.lfns() == NAMES
    source = jedi.dataset()
    assert (source.status, source.n_files, source.n_events, source.content_cursor) == ("ready", 7, 70, None)
    file = jedi.inputs()["f3"]
    assert (file.status, file.url, file.size_bytes, file.checksum, file.max_attempt) == (
        "ready",
        "file:///f3",
        5,
        "ad:00000001",
        4,
    )
    assert jedi.task().status == "ready"
    assert jedi.miscounted() == {}


class Flaky:
    """A catalogue that fails when it is asked for what follows some file, until it is mended."""

    asked: list[str]
    error: Exception | None

    def __init__(self, context: Any) -> None:
        self._good = LocalCatalogue(context)

    @hookimpl
    def list_contents(self, dataset: DatasetView, cursor: str, limit: int) -> Contents | None:
        self.asked.append(cursor)
        if self.error is not None and len(self.asked) == 3:
            raise self.error
        return self._good.list_contents(dataset, cursor, limit)


@pytest.mark.parametrize("error", [Retriable("the catalogue is away"), RuntimeError("a bug")], ids=["away", "bug"])
def test_after_an_interruption_it_goes_on_from_the_last_page(
    make_jedi: Callable[..., Jedi],
    strangers: Callable[[type], str],
    clock: ManualClock,
    pages_of_two: None,
    error: Exception,
) -> None:
    Flaky.asked, Flaky.error = [], error
    jedi = make_jedi(ddm={"modConfig": f"::{strangers(Flaky)}"})
    jedi.store("user.alice.in", *NAMES)
    assert feed(submitted(jedi)) == Round(postponed=1)
    assert jedi.task().status == "pending"
    assert str(error) in jedi.task().error_dialog
    assert jedi.lfns() == NAMES[:4]
    Flaky.error = None
    assert feed(jedi) == Round()  # left alone for a while
    clock.advance(minutes=1)
    assert feed(jedi) == Round(done=1)
    assert Flaky.asked[2] == Flaky.asked[3]  # no page was asked for again
    assert jedi.lfns() == NAMES
    task = jedi.task()
    assert (task.status, task.error_dialog) == ("ready", None)
    assert jedi.story() == ["registered", "defined", "pending", "ready"]
    assert jedi.dataset().n_events == 70


@pytest.mark.parametrize(
    ("stored", "piece", "says"),
    [
        ([], {}, "there is no dataset user.alice.in"),
        (["a.root"], {"include": "txt$"}, "there are no files in it that match txt$"),
        (["a.root"], {"include": r".*\.tsv,b", "exclude": NO_LOGS}, "there are no files in it that match *.tsv or b"),
        (["a.root"], {"offset": 1}, "there are no files in it that are after the first 1"),
    ],
    ids=["missing", "nothing chosen", "the pattern of the user", "all skipped"],
)
def test_inputs_that_are_not_there_break_the_task(
    jedi: Jedi, stored: list[str], piece: dict[str, Any], says: str
) -> None:
    if stored:
        jedi.store("user.alice.in", *stored)
    assert feed(submitted(jedi, reads(**piece))) == Round(broken=1)
    assert says in jedi.task().error_dialog
    assert jedi.dataset().status == "broken"
    jedi.run(PostProcessor)
    assert jedi.task().status == "broken"


@pytest.mark.parametrize(
    ("piece", "parameters", "chosen"),
    [
        ({}, {"nFiles": 3}, ["f0", "f1", "f2"]),
        ({"offset": 5}, {}, ["f5", "f6"]),
        ({"offset": 2}, {"nFiles": 3}, ["f2", "f3", "f4"]),
        ({"include": "f[246],f1"}, {}, ["f1", "f2", "f4", "f6"]),
        ({"exclude": "f[0-4]"}, {}, ["f5", "f6"]),
        ({"include": "f[1-5]", "exclude": "3", "offset": 1}, {"nFiles": 2}, ["f2", "f4"]),
        ({"files": ["f1", "f6", "f9"]}, {}, ["f1", "f6"]),
    ],
)
def test_a_part_of_the_inputs(
    jedi: Jedi, pages_of_two: None, piece: dict[str, Any], parameters: dict[str, Any], chosen: list[str]
) -> None:
    jedi.store("user.alice.in", *NAMES)
    feed(submitted(jedi, reads(**piece), **parameters))
    assert jedi.lfns() == chosen
    assert jedi.dataset().n_files == len(chosen)


def test_several_datasets_are_read_one_after_the_other(jedi: Jedi, pages_of_two: None) -> None:
    jedi.store("user.alice.one", "a1", "a2", "a3")
    jedi.store("user.alice.two", "b1")
    feed(submitted(jedi, reads("user.alice.one/,user.alice.two"), nFiles=4))
    assert jedi.lfns() == ["a1", "a2", "a3", "b1"]


def test_numbers_are_inputs_where_there_are_no_files(jedi: Jedi) -> None:
    feed(submitted(jedi, {"type": "constant", "value": "x"}, noInput=True, nEvents=3, nEventsPerJob=1))
    assert jedi.lfns() == ["000000000", "000000001", "000000002"]


def test_a_reload_enters_what_is_new_and_counts_it_once(jedi: Jedi) -> None:
    jedi.store("user.alice.in", "a", "c")
    feed(submitted(jedi))
    jedi.set(status="finished")
    jedi.store("user.alice.in", "b", "d")
    jedi.command("incexec")
    jedi.run(TaskRefiner)
    assert feed(jedi) == Round(done=1)
    source = jedi.dataset()
    assert jedi.lfns() == ["a", "b", "c", "d"]
    assert (source.n_files, source.n_events, source.status) == (4, 40, "ready")
    assert jedi.miscounted() == {}


def test_a_reload_goes_on_whatever_the_task_was_before(jedi: Jedi) -> None:
    """A task remembers where it was when it was last held up: that says nothing about now."""
    jedi.store("user.alice.in", "a")
    feed(submitted(jedi))
    jedi.set(status="finished", old_status="running")
    jedi.command("incexec")
    jedi.run(TaskRefiner, ContentsFeeder)
    assert jedi.task().status == "ready"


def test_a_task_may_wait_for_its_input(jedi: Jedi, clock: ManualClock) -> None:
    feed(submitted(jedi, waitInput=1))
    assert jedi.task().status == "pending"
    assert "there is no dataset user.alice.in" in jedi.task().error_dialog
    jedi.store("user.alice.in", "a")
    clock.advance(seconds=31)
    feed(jedi)
    assert (jedi.task().status, jedi.lfns()) == ("ready", ["a"])


def test_a_reload_takes_the_events_that_are_still_wanted(jedi: Jedi) -> None:
    jedi.store("user.alice.in", "b")
    feed(submitted(jedi, nEvents=25))
    jedi.set(status="finished")
    jedi.store("user.alice.in", "a", "c", "d", "e")
    jedi.command("incexec")
    jedi.run(TaskRefiner, ContentsFeeder)
    assert jedi.lfns() == ["a", "b", "c"]
    assert jedi.dataset().n_events == 30


def test_a_dataset_that_went_away_breaks_a_reload(jedi: Jedi) -> None:
    jedi.store("user.alice.in", "a")
    feed(submitted(jedi))
    jedi.set(status="finished")
    jedi.command("incexec", new_parameters={"jobParameters": [reads("user.alice.gone")]})
    jedi.run(TaskRefiner)
    assert feed(jedi) == Round(broken=1)
    assert "user.alice.gone" in jedi.task().error_dialog
