"""The listener: what a ring does, and that nothing which goes wrong with it costs a job anything."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from patience import PATIENCE_SECONDS

from bamboo.pilot.errors import Code
from bamboo.pilot.heartbeat import SHORTEST_SECONDS, Heartbeat, Ring
from bamboo.pilot.job import Job
from bamboo.pilot.job_spec import JobSpec
from bamboo.pilot.lease import Lease
from bamboo.pilot.listener import FIRST_SECONDS, Listener
from bamboo.pilot.report import Reporter
from bamboo.pilot.server_calls import ServerCalls
from bamboo.pilot.slot import Slot
from bamboo.pilot.transport import Credentials, Transport
from bamboo.tests.pilot.scripted_server import ScriptedServer, job

Pilot = Callable[..., subprocess.Popen[str]]
KILL = {"data": {"StatusCode": 0, "command": "tobekilled"}}
NOT_OURS = {"success": False, "data": {"reason": "stale_attempt"}}


def seldom_job(pandaid: int, command: str = "sleep 1000", **more: Any) -> dict[str, Any]:
    """A job whose pilot would report every ten minutes."""
    return job(pandaid, command, leaseSeconds=1800, heartbeatSeconds=600, **more)


def go(path: Path) -> str:
    """A payload that ends when a file appears."""
    return f"while ! test -e {path}; do sleep 0.05; done"


def told(tmp_path: Path) -> list[str]:
    """What the pilot said about listening."""
    lines = (tmp_path / "pilot0.err").read_text().splitlines()
    return [line for line in lines if "heartbeats alone" in line or "stream of orders" in line]


def _has_finished(server: ScriptedServer, pandaid: int) -> bool:
    return "finished" in server.states(pandaid)


def wait_until_it_listens(server: ScriptedServer, n: int = 1) -> None:
    bell = server.script.bell
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bell.asked) < n:
        assert time.monotonic() < deadline, "nobody listens"
        time.sleep(0.02)


def test_a_ring_brings_the_order(server: ScriptedServer, start_pilot: Pilot) -> None:
    bell = server.script.bell
    bell.status = 200
    server.script.jobs.append(seldom_job(7))
    pilot = start_pilot("--max-jobs", "1")
    wait_until_it_listens(server)
    assert "job_id=7&attempt_nr=1" in bell.asked[0].path
    server.wait_for(lambda: "running" in server.states())
    server.script.on_update = lambda report: KILL
    bell.ring()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.final()["pilot_error_code"] == Code.KILLED_BY_SERVER
    assert bell.n_left == 1


def test_many_rings_are_few_reports(server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    bell = server.script.bell
    bell.status = 200
    server.script.jobs.append(seldom_job(7, go(tmp_path / "go")))
    pilot = start_pilot("--max-jobs", "1")
    wait_until_it_listens(server)
    server.wait_for(lambda: "running" in server.states())
    begun, before = time.monotonic(), len(server.updates())
    for _ in range(100):
        bell.ring()
        time.sleep(0.02)  # each is heard by itself
    server.wait_for(lambda: len(server.updates()) > before)
    (tmp_path / "go").touch()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    lasted = time.monotonic() - begun
    assert len(server.updates()) - before <= lasted / SHORTEST_SECONDS + 3  # stage-out and the end are reports too


@pytest.mark.parametrize(
    ("status", "text", "level"),
    [(404, "", "INFO"), (405, "", "INFO"), (403, "", "INFO"), (200, '{"success": false}', "INFO"), (503, "", "")],
)
def test_a_server_without_a_bell_is_left_alone(
    status: int, text: str, level: str, server: ScriptedServer, start_pilot: Pilot, tmp_path: Path
) -> None:
    """Asked once, also for the next job, though told of it once at the most."""
    bell, paths = server.script.bell, [tmp_path / "go1", tmp_path / "go2"]
    bell.status, bell.text = status, text
    server.script.queue["timefloor"] = 5
    server.script.jobs += [seldom_job(1, go(paths[0])), seldom_job(2, f"sleep 3; {go(paths[1])}")]
    pilot = start_pilot("--max-jobs", "2")
    wait_until_it_listens(server)
    for path in paths:
        path.touch()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert [server.final(pandaid)["job_status"] for pandaid in (1, 2)] == ["finished", "finished"]
    assert len(bell.asked) == 1
    assert [level for line in told(tmp_path) if f" {level} " in line] == [level] * bool(level)
    assert not [line for line in told(tmp_path) if " WARNING " in line or " ERROR " in line]


def test_a_stream_that_breaks_off_is_opened_again(server: ScriptedServer, start_pilot: Pilot) -> None:
    bell = server.script.bell
    bell.status, bell.n_cut = 200, 2
    server.script.jobs.append(seldom_job(7))
    pilot = start_pilot("--max-jobs", "1")
    wait_until_it_listens(server, 3)
    server.script.on_update = lambda report: KILL
    bell.ring()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.final()["pilot_error_code"] == Code.KILLED_BY_SERVER


def test_a_job_s_end_waits_for_no_stream(server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    """And the next job is listened to at once: a stream that the pilot ends is no failure of the server."""
    bell, paths = server.script.bell, [tmp_path / f"go{number}" for number in range(3)]
    bell.status = 200
    server.script.queue["timefloor"] = 5
    server.script.jobs += [seldom_job(number + 1, go(path)) for number, path in enumerate(paths)]
    pilot = start_pilot("--max-jobs", "3")
    for number, path in enumerate(paths):
        wait_until_it_listens(server, number + 1)
        ended_at = time.monotonic()
        path.touch()
        server.wait_for(partial(_has_finished, server, number + 1))
        assert time.monotonic() - ended_at < 30  # the stream lives for 300 s
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert [call.path.partition("&")[0][-1] for call in bell.asked] == ["1", "2", "3"]


def test_a_stream_over_tls_rings_and_ends(
    https_server: tuple[ScriptedServer, Path], start_pilot: Pilot, tmp_path: Path
) -> None:
    server, certificate = https_server
    server.script.bell.status = 200
    server.script.jobs.append(seldom_job(7, go(tmp_path / "go")))
    pilot = start_pilot("--max-jobs", "1", "--url", server.url, "--cacert", str(certificate))
    wait_until_it_listens(server)
    server.wait_for(lambda: "running" in server.states())
    n_before = len(server.updates())
    server.script.bell.ring()
    server.wait_for(lambda: len(server.updates()) > n_before)
    (tmp_path / "go").touch()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert server.final()["job_status"] == "finished"
    assert server.script.bell.n_left == 1 and not told(tmp_path)


def test_a_server_that_says_nothing_keeps_no_pilot(server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    """Neither the job nor the process waits for an answer to the question for a stream."""
    go_on = threading.Event()
    server.script.bell.status = 200
    server.script.jobs.append(seldom_job(7, go(tmp_path / "go")))
    server.script.bell.hold = go_on
    pilot = start_pilot("--max-jobs", "1")
    wait_until_it_listens(server)
    ended_at = time.monotonic()
    (tmp_path / "go").touch()
    assert pilot.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - ended_at < 20  # an answer is waited for 30 s
    assert server.final()["job_status"] == "finished"
    go_on.set()


@pytest.mark.parametrize("how", ["no time between heartbeats", "heartbeats are frequent"])
def test_who_needs_no_bell_asks_for_none(how: str, server: ScriptedServer, start_pilot: Pilot, tmp_path: Path) -> None:
    """A server that names no time between heartbeats is one of PanDA's."""
    server.script.bell.status = 200
    more = {"heartbeatSeconds": 4} if "frequent" in how else {}
    server.script.jobs.append(job(7, "sleep 4", **more))
    assert start_pilot("--max-jobs", "1").wait(PATIENCE_SECONDS) == 0
    assert server.script.bell.asked == []


def test_a_job_s_token_opens_its_stream_or_the_pilot_s_own(server: ScriptedServer, start_pilot: Pilot) -> None:
    server.script.token, server.script.bell.status = "mine", 200
    server.script.jobs.append(seldom_job(7, attemptToken="of the job"))
    pilot = start_pilot("--max-jobs", "1", PANDA_AUTH_TOKEN="mine", PANDA_AUTH_ORIGIN="vo")
    wait_until_it_listens(server, 2)
    shown = [call.headers["Authorization"] for call in server.script.bell.asked]
    assert shown == ["Bearer of the job", "Bearer mine"]
    server.script.on_update = lambda report: KILL
    server.script.bell.ring()
    assert pilot.wait(PATIENCE_SECONDS) == 0


def test_a_stream_for_another_s_job_ends_the_work_for_it(server: ScriptedServer, start_pilot: Pilot) -> None:
    """The pilot asks for the reason by a report, as always."""
    server.script.bell.status, server.script.bell.text = 200, json.dumps(NOT_OURS)
    server.script.jobs.append(seldom_job(7))

    def refuse(report: dict[str, Any]) -> dict[str, Any]:
        return NOT_OURS if server.script.bell.asked else {}

    server.script.on_update = refuse
    assert start_pilot("--max-jobs", "1").wait(PATIENCE_SECONDS) == 0
    assert "failed" not in server.states() and "finished" not in server.states()
    assert len(server.script.bell.asked) == 1


def slot_at(now: list[float]) -> Slot:
    return cast(Slot, Namespace(clock=lambda: now[0], options=Namespace(heartbeat_seconds=None)))


def taken_job(pandaid: int, slot: Slot, **more: Any) -> Job:
    return Job(JobSpec.parse({**seldom_job(pandaid), **more}), Path(), Lease(1800, 1.0, 0.0, slot.clock))


def test_short_jobs_ask_for_no_bell() -> None:
    slot = slot_at([0.0])
    listener = Listener(queue.SimpleQueue(), slot, lambda job: None)
    listener.handle(taken_job(1, slot))
    assert listener.seconds_to_tick() == FIRST_SECONDS
    for more in ({"heartbeatSeconds": 0}, {"heartbeatSeconds": 4}):
        listener.handle(taken_job(2, slot, **more))
        assert listener.seconds_to_tick() is None


def test_a_stream_that_the_pilot_ends_is_no_failure_of_the_server(server: ScriptedServer) -> None:
    """The next job is listened to as soon as any."""
    now, bell = [0.0], server.script.bell
    bell.status, slot = 200, slot_at(now)
    slot.server = ServerCalls(Transport(server.url, Credentials(), "test"))
    listener = Listener(queue.SimpleQueue(), slot, lambda job: None)
    for pandaid in range(1, 7):
        listener.handle(taken_job(pandaid, slot))
        assert listener.seconds_to_tick() == FIRST_SECONDS
        listening = threading.Thread(target=listener.tick)
        listening.start()
        wait_until_it_listens(server, pandaid)
        listener.post(taken_job(99 + pandaid, slot))
        listening.join(PATIENCE_SECONDS)
        assert not listening.is_alive()


def test_a_late_ring_costs_the_next_job_no_heartbeat() -> None:
    now = [0.0]
    slot = slot_at(now)
    beat = Heartbeat(queue.SimpleQueue(), slot, Reporter(slot))
    first, second = taken_job(1, slot), taken_job(2, slot)
    beat.handle(first)
    beat.handle(second)
    beat.handle(Ring(first))
    assert beat.seconds_to_tick() == 600.0
    now[0] = 10.0
    beat.handle(Ring(second))
    assert beat.seconds_to_tick() == 0.0
