"""Two jobs side by side, what the definition of a job tells its owner, and what failures have in common, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from world import World as FullWorld

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.server.job_comparison import figures_differ
from bamboo.sql import tables as t


class Ended(FullWorld):
    """A task whose jobs came to their ends."""

    def end(self, n: int, to: JobState, **columns: Any) -> list[int]:
        held = self.move(self.claim(n), JobState.STARTING, JobState.RUNNING)
        for job in held:
            self.report_on(job.pandaid)
        self.book(self.move(held, JobState.HOLDING, started_at=self.clock(), ended_at=self.clock(), **columns), to)
        return [job.pandaid for job in held]

    def report_on(self, pandaid: int) -> None:
        metrics = {"job_metrics": "coreCount=1 nGood=7", "pilot_timing": "1|2|30|4|0|1"}
        with self.engine.begin() as tx:
            tx.execute(sa.insert(t.job_reports).values(pandaid=pandaid, stdout_tail=f"end of {pandaid}", **metrics))


@pytest.fixture
def ended(engine: sa.Engine, clock: ManualClock) -> Ended:
    """A task of 6 inputs: two jobs are finished, three have failed at another node, and the last waits."""
    world = Ended(engine, clock)
    world.start(6, max_attempt=3)
    world.generate(6, processing_type="prun")
    world.end(2, JobState.FINISHED, node="good", max_rss_kb=100_000, cpu_consumption_seconds=10)
    failed = {"pilot_error_code": 1305, "pilot_error_diag": "exit code 3", "trans_exit_code": 3}
    world.end(3, JobState.FAILED, node="bad", max_rss_kb=900_000, cpu_consumption_seconds=11, **failed)
    return world


def lines(answer: dict[str, Any], *, same: bool = False) -> dict[str, tuple[Any, Any]]:
    assert answer["success"], answer
    chosen = [line for line in answer["data"]["lines"] if same or line["differs"]]
    return {f"{line['part']}: {line['name']}": (line["a"], line["b"]) for line in chosen}


def test_what_differs_from_a_sibling(api: Any, ended: Ended) -> None:
    good, bad = min(ended.jobs()), min(ended.jobs()) + 2
    answer = api.get("job/compare", job_id=bad)
    assert answer["data"]["chosen"] == "of those that finished, its inputs are nearest in size"
    other = answer["data"]["jobs"][1]["PandaID"]
    assert [job["PandaID"] for job in answer["data"]["jobs"]] == [bad, good + 1]
    assert answer["data"]["stdoutTails"] == [f"end of {bad}", f"end of {other}"]
    found = lines(answer)
    assert found == {
        "how it ended: state": ("failed", "finished"),
        "where: node": ("bad", "good"),
        "measured: memory (RSS)": (900_000, 100_000),
        "errors: pilot 1305": (found["errors: pilot 1305"][0], None),
        "errors: trans 3": (found["errors: trans 3"][0], None),
        "inputs: read by one only": (["in.2"], ["in.1"]),
        "outputs: user.alice.a.out: state": ("failed", "finished"),
        "outputs: user.alice.a.log: state": ("failed", "finished"),
    }
    assert found["errors: pilot 1305"][0].startswith("exit code 3; ")
    same = lines(answer, same=True)
    assert same["timings: payload"] == (30, 30)
    assert same["measured: nGood"] == (7, 7)
    assert same["what: parameters"] == ("-x", "-x")


def test_a_sibling_that_finished_with_the_same_input_is_nearest(api: Any, ended: Ended) -> None:
    failed = [pandaid for pandaid, job in ended.jobs().items() if job.status == "failed"]
    (again,) = ended.generate(1, input_file_bytes=999)  # the input of the first that failed
    assert again in ended.end(2, JobState.FINISHED)  # the other one had waited
    answer = api.get("job/compare", job_id=failed[0])
    assert (answer["data"]["jobs"][1]["PandaID"], answer["data"]["chosen"]) == (
        again,
        "it finished with an input of this one",
    )


def test_words_that_differ(api: Any, ended: Ended, engine: sa.Engine) -> None:
    """Names of own files are no difference, other words of the command line are, decoded."""
    one, other = sorted(ended.jobs())[:2]
    with engine.begin() as tx:
        for pandaid, word in ((one, "a%20b"), (other, "a%20c")):
            own = tx.scalars(sa.select(t.job_files.c.lfn).where(t.job_files.c.pandaid == pandaid)).all()
            (given,) = [lfn for lfn in own if lfn.startswith("in.")]
            text = f"-p '{word}' -i \"['{given}']\" -o \"{{'x': '{next(lfn for lfn in own if 'output' in lfn)}'}}\""
            tx.execute(sa.update(t.job_params).where(t.job_params.c.pandaid == pandaid).values(job_parameters=text))
    found = lines(api.get("job/compare", job_id=one, other_id=other))
    assert found.pop("inputs: read by one only") == (["in.0"], ["in.1"])
    assert found == {"what: parameters after -p": ("a b", "a c")}


def test_command_lines_that_differ_in_much(api: Any, ended: Ended, engine: sa.Engine) -> None:
    """To pair their words would take hours."""
    one, other = sorted(ended.jobs())[:2]
    texts = {one: "-x " + "a b " * 4000 + "z", other: "-x " + "b a c " * 4000 + "z"}
    with engine.begin() as tx:
        for pandaid, text in texts.items():
            tx.execute(sa.update(t.job_params).where(t.job_params.c.pandaid == pandaid).values(job_parameters=text))
    found = lines(api.get("job/compare", job_id=one, other_id=other))
    assert found["what: parameters after -x"] == (("a b " * 4000).rstrip(), ("b a c " * 4000).rstrip())


def test_jobs_that_cannot_be_compared(api: Any, bob: Any, ended: Ended) -> None:
    first = min(ended.jobs())
    assert api.get("job/compare", job_id=999)["status"] == 404
    assert api.get("job/compare", job_id=first, other_id=999)["status"] == 404
    assert api.get("job/compare", job_id=first)["success"]  # the other one that finished
    assert bob.get("job/compare", job_id=first)["data"]["stdoutTails"] == [None, None]


def test_nobody_to_compare_with(api: Any, world: Any) -> None:
    (job,) = world.jobs(1)
    answer = api.get("job/compare", job_id=job)
    assert (answer["status"], answer["hint"]) == (409, "name another job: bamboo job diff A B")


@pytest.mark.parametrize(
    ("a", "b", "noise", "differ"),
    [(10, 11, 5, False), (100, 130, 5, False), (100, 140, 5, True), (None, 4, 5, False), (None, 6, 5, True)],
)
def test_figures_that_differ(a: float | None, b: float | None, noise: float, differ: bool) -> None:
    assert figures_differ(a, b, noise) is figures_differ(b, a, noise) is differ


def test_the_definition_is_what_the_pilot_got(api: Any, bob: Any, claim: Any) -> None:
    got = claim(uses_secrets=True)
    answer = api.get("job/get_definition", job_id=got["PandaID"])
    given = answer["data"]
    assert (given.pop("computingSite"), given.pop("usesSecrets")) == ("LOCAL", True)
    assert given == got
    assert "secrets" not in given
    assert bob.get("job/get_definition", job_id=got["PandaID"])["status"] == 403


def test_too_few_to_tell(api: Any, ended: Ended) -> None:
    answer = api.get("task/contrasts", task_id=ended.jeditaskid)["data"]
    assert answer == {"nFailed": 3, "nFinished": 2, "contrasts": []}


def test_a_node_at_which_jobs_fail(api: Any, engine: sa.Engine, clock: ManualClock) -> None:
    world = Ended(engine, clock)
    world.start(30, max_attempt=1)
    world.generate(30)
    world.end(20, JobState.FINISHED, node="good")
    world.end(10, JobState.FAILED, node="bad")
    answer = api.get("task/contrasts", task_id=world.jeditaskid)["data"]
    (told,) = answer["contrasts"]
    assert told.pop("chance") < 1e-6
    assert told == {
        "attribute": "node",
        "value": "bad",
        "nFailed": 10,
        "nFinished": 0,
        "ofFailures": 1.0,
        "ofSuccesses": 0.0,
        "also": [],
        "says": "100 % of failures ran at node bad, 0 % of successes (10 of 10 failed, 0 of 20 finished)",
    }
    assert api.get("task/contrasts", task_id=1)["status"] == 404
