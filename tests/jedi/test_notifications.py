"""Ends of tasks are told once each, by mail over a real SMTP conversation, and nothing is lost with a mail server."""

from __future__ import annotations

import email
import email.policy
import socketserver
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, PostProcessor, TaskEnder, TaskRefiner, WatchDog
from bamboo.jedi.notifying import tell_ends
from bamboo.plugins.hookspecs import hookimpl
from bamboo.sql import notifications
from bamboo.tests.jedi.rounds import Jedi, on_both_databases


class _Conversation(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as it takes to receive a mail."""

    def handle(self) -> None:
        self._say("220 ready")
        while words := self.rfile.readline().decode().split():
            if words[0].upper() == "DATA":
                self._say("354 go on")
                self.server.received.append(self._read())  # type: ignore[attr-defined]
            self._say("250 fine" if words[0].upper() != "QUIT" else "221 bye")

    def _read(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        return email.message_from_bytes(b"".join(lines), policy=email.policy.default)  # type: ignore[return-value]

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class PostOffice(socketserver.ThreadingTCPServer):
    """A mail server on this machine. `received` are the mails."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.received: list[EmailMessage] = []

    @property
    def section(self) -> dict[str, Any]:
        host, port = self.server_address[:2]
        return {"smtp_host": host, "smtp_port": port, "sender": "bamboo@grid", "recipient": "{user}@example.org"}


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    with PostOffice() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def ended(jedi: Jedi, **parameters: Any) -> Jedi:
    """A task that is done."""
    jedi.queue()
    jedi.store("user.alice.in", "f1", "f2")
    jedi.submit(skipScout=True, **parameters)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    jedi.book(jedi.move(jedi.claim(2), JobState.RUNNING, JobState.HOLDING))
    jedi.run(WatchDog, PostProcessor)
    assert jedi.task().status == "done"
    return jedi


def ends(jedi: Jedi) -> list[sa.Row[Any]]:
    with jedi.engine.connect() as tx:
        return notifications.of_task(tx, jedi.jeditaskid)


@on_both_databases
def test_an_end_is_told_by_mail_once(
    make_jedi: Callable[..., Jedi], post_office: PostOffice, clock: ManualClock
) -> None:
    jedi = ended(make_jedi(notify=post_office.section))
    clock.advance(seconds=10)
    assert jedi.run(WatchDog)[0].told == 1
    clock.advance(hours=1)
    assert jedi.run(WatchDog)[0].told == 0
    (mail,) = post_office.received
    assert (mail["To"], mail["From"]) == ("alice@example.org", "bamboo@grid")
    assert mail["Subject"] == f"task {jedi.jeditaskid} is done: user.alice.a"
    text = mail.get_content()
    assert "Inputs: 2, of which 2 were processed and 0 failed." in text
    assert "retry" not in text
    (end,) = ends(jedi)
    assert (end.status, end.delivery, end.how) == ("done", "told", "mailed to alice@example.org")
    assert end.attempts == 1


@pytest.mark.parametrize(
    ("parameters", "how"),
    [({}, "logged: [notify] smtp_host is not set"), ({"noEmail": True}, "logged: the user wants no mail")],
)
def test_without_a_mail_server_or_the_wish_it_is_logged(
    jedi: Jedi, clock: ManualClock, parameters: dict[str, Any], how: str
) -> None:
    ended(jedi, **parameters)
    assert tell_ends(jedi.context) == 1
    assert [(end.delivery, end.how, end.told_at) for end in ends(jedi)] == [("told", how, clock())]


def test_a_name_that_makes_no_address_stops_nothing(make_jedi: Callable[..., Jedi], post_office: PostOffice) -> None:
    jedi = ended(make_jedi(notify=post_office.section))
    jedi.set(user_name="alice,\nBcc: everybody")
    assert tell_ends(jedi.context) == 1
    assert post_office.received == []
    assert ends(jedi)[0].how.startswith("logged: 'alice,\\nBcc: everybody' makes no mail address")


@on_both_databases
def test_each_end_is_told(jedi: Jedi) -> None:
    """Of a task that is run again there are several; a task that was killed ended too."""
    ended(jedi)
    jedi.store("user.alice.in", "f3")
    assert jedi.command("incexec").status == "done"
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    jedi.book(jedi.move(jedi.claim(1), JobState.RUNNING, JobState.HOLDING))
    jedi.clock.advance(seconds=10)  # type: ignore[attr-defined]
    jedi.run(WatchDog, PostProcessor)
    jedi.run(WatchDog)
    assert [end.status for end in ends(jedi)] == ["done", "done"]
    jedi.submit()
    jedi.command("kill")
    jedi.run(TaskEnder)
    assert [(end.status, end.why) for end in ends(jedi)] == [("aborted", "no jobs left")]
    jedi.submit(taskPriority=3)
    jedi.run(TaskRefiner)
    assert ends(jedi) == []


@on_both_databases
def test_what_cannot_be_told_is_tried_again_and_given_up_in_the_end(
    make_jedi: Callable[..., Jedi], post_office: PostOffice, clock: ManualClock
) -> None:
    section = post_office.section
    post_office.shutdown()
    post_office.server_close()
    jedi = ended(make_jedi(notify=section))
    assert tell_ends(jedi.context) == 0
    assert ends(jedi)[0].how.endswith("does not take a mail to alice@example.org: [Errno 111] Connection refused")
    pauses = []
    while ends(jedi)[0].delivery == "waiting":
        assert tell_ends(jedi.context) == 0  # not before its time
        pauses.append(ends(jedi)[0].next_try_at - clock())
        clock.advance(seconds=pauses[-1].total_seconds())
        tell_ends(jedi.context)
    assert pauses == [timedelta(seconds=120 * 2**n) for n in range(9)]
    assert (ends(jedi)[0].delivery, ends(jedi)[0].attempts) == ("given_up", 10)


def test_an_end_whose_teller_died_is_told_by_another(jedi: Jedi, clock: ManualClock) -> None:
    ended(jedi)
    with jedi.engine.begin() as tx:
        (held,) = notifications.claim(tx, until=clock() + timedelta(seconds=900), now=clock(), limit=9)
    assert held.attempts == 1
    assert tell_ends(jedi.context) == 0
    clock.advance(seconds=900)
    assert tell_ends(jedi.context) == 1
    assert ends(jedi)[0].attempts == 2


class Shouting:
    @hookimpl
    def notify(self, task: Any, ending: Any) -> str:
        if task.jeditaskid % 2:
            raise RuntimeError("hoarse")
        return f"shouted that {ending.tally.n_finished} of {ending.tally.n_files} are there"


def test_a_stranger_may_tell_and_hurts_only_his_own(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str]
) -> None:
    jedi = ended(make_jedi(notify={"modConfig": f"::{strangers(Shouting)}"}))
    assert jedi.jeditaskid % 2 == 0
    jedi.submit()
    jedi.command("kill")
    jedi.run(TaskEnder)
    assert tell_ends(jedi.context) == 1
    assert ends(jedi)[0].how == "a_strangers_plugin:Plugin failed in notify: RuntimeError: hoarse"
    jedi.jeditaskid -= 1
    assert ends(jedi)[0].how == "shouted that 2 of 2 are there"
