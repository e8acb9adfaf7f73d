"""What lists of tasks and jobs are asked for, with BigPanDA's parameter names (manual ch. 4.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from flask import request
from pydantic import Field

from ...core.errors import Fault, Invalid
from ...core.nearby import guess
from ...core.states import TaskState
from ...sql.selection import Selection
from ..bodies import Moment, Query, moment
from ..task_rows import super_status

#: Facets are of so many of the newest tasks that fit.
LOOKED_AT = 5000
MAX_LISTED = 10_000
#: Without a window or a task, jobs of so many hours are listed, as BigPanDA does.
USUAL_HOURS = 12.0
MAX_DISPLAYED = 1000
_MAX_ID = 2**63 - 1
_CODE = re.compile(r"-?[0-9]{1,9}")


Span = Annotated[float, Field(ge=0, le=100_000)]
Text = Annotated[str, Field(max_length=1000)]


class Window(Query):
    """What both lists take: the window of time, and how much to show."""

    days: Span | None = None
    hours: Span | None = None
    date_from: Moment | None = None
    date_to: Moment | None = None
    earlierthan: Span | None = None  # hours
    earlierthandays: Span | None = None
    endtime_from: Moment | None = None
    endtime_to: Moment | None = None
    endtimerange: str | None = Field(None, max_length=100)
    limit: Annotated[int, Field(ge=1)] = 1000
    display_limit: Annotated[int, Field(ge=1, le=MAX_DISPLAYED)] = 100
    before: Annotated[int, Field(ge=1, le=_MAX_ID)] | None = None  # the next page: rows with smaller ids

    def within(self, now: datetime, usual_hours: float | None = None) -> Selection:
        """The window of time; `usual_hours` where none is asked for. Raises `Invalid`."""
        since, until = self.date_from, self.date_to
        hours = self.hours if self.days is None else self.days * 24
        ended_since, ended_until = self._range()
        if hours is None and since is None and ended_since is None and ended_until is None:
            hours = usual_hours
        if hours is not None:
            since = now - timedelta(hours=hours)
        earlier = self.earlierthan if self.earlierthandays is None else self.earlierthandays * 24
        if earlier is not None:
            until = now - timedelta(hours=earlier)
        return Selection(
            before=self.before,
            modified_since=since,
            modified_until=until,
            ended_since=ended_since,
            ended_until=ended_until,
        )

    def _range(self) -> tuple[datetime | None, datetime | None]:
        if not self.endtimerange:
            return self.endtime_from, self.endtime_to
        try:
            begin, end = (moment(word) for word in self.endtimerange.split("|"))
        except ValueError:
            fault = Fault("endtimerange", "no range of two moments", "give YYYY-MM-DDThh:mm|YYYY-MM-DDThh:mm")
            raise Invalid("the request", [fault]) from None
        return begin, end


class TasksAsked(Window):
    jeditaskid: Text | None = None
    reqid: Text | None = None
    username: Text | None = None
    taskname: Text | None = None
    status: Text | None = None
    superstatus: Text | None = None
    tasktype: Text | None = None
    workinggroup: Text | None = None
    campaign: Text | None = None
    processingtype: Text | None = None
    vo: Text | None = None
    gshare: Text | None = None
    nucleus: Text | None = None
    site: Text | None = None
    resourcetype: Text | None = None

    def selection(self, now: datetime) -> Selection:
        """Which tasks are asked for; raises `Invalid`."""
        columns = _columns(self, TASK_FACETS)
        if self.superstatus:
            wanted = alternatives(self.superstatus)
            columns["status"] = [str(state) for state in TaskState if super_status(state, None) in wanted]
        kinds = {"prod": "managed", "anal": "user"}
        if self.tasktype:
            columns["prod_source_label"] = [kinds.get(word, word) for word in alternatives(self.tasktype)]
        asked = [word for text in (self.jeditaskid, self.reqid) for word in alternatives(text or "")]
        return replace(self.within(now), columns=columns, ids=_ids("jeditaskid", asked))


class JobsAsked(Window):
    pandaid: Text | None = None
    jeditaskid: Text | None = None
    jobstatus: Text | None = None
    computingsite: Text | None = None
    produsername: Text | None = None
    username: Text | None = None
    gshare: Text | None = None
    resourcetype: Text | None = None
    prodsourcelabel: Text | None = None
    processingtype: Text | None = None
    workinggroup: Text | None = None
    vo: Text | None = None
    modificationhost: Text | None = None
    kind: Text | None = None
    error: Text | None = None  # source:code, as the errors page has it

    def selection(self, now: datetime) -> Selection:
        """Which jobs are asked for; raises `Invalid`."""
        columns = _columns(self, JOB_FACETS)
        if self.username and "user_name" not in columns:
            columns["user_name"] = alternatives(self.username)
        for name, values in self._narrowed():
            columns[name] = values
        ids = _ids("pandaid", alternatives(self.pandaid or ""))
        usual = None if ids or self.jeditaskid else USUAL_HOURS
        return replace(self.within(now, usual), columns=columns, ids=ids)

    def _narrowed(self) -> Iterator[tuple[str, list[str]]]:
        if self.jeditaskid:
            yield "jeditaskid", [str(one) for one in _ids("jeditaskid", alternatives(self.jeditaskid))]
        if self.error:
            source, _, code = self.error.partition(":")
            column = ERROR_COLUMNS.get(source)
            if column is None or not _CODE.fullmatch(code):
                do = f"give source:code, with one of {', '.join(ERROR_COLUMNS)}"
                raise Invalid("the request", [Fault("error", "no error", do)])
            yield column, [code]


#: Facets of the lists: parameter to column.
TASK_FACETS: Mapping[str, str] = {
    "status": "status",
    "username": "user_name",
    "taskname": "task_name",
    "vo": "vo",
    "gshare": "gshare",
    "workinggroup": "working_group",
    "processingtype": "processing_type",
    "campaign": "campaign",
    "nucleus": "nucleus",
    "site": "site",
    "resourcetype": "resource_type",
}
JOB_FACETS: Mapping[str, str] = {
    "jobstatus": "status",
    "computingsite": "queue",
    "produsername": "user_name",
    "gshare": "gshare",
    "resourcetype": "resource_type",
    "prodsourcelabel": "prod_source_label",
    "processingtype": "processing_type",
    "workinggroup": "working_group",
    "vo": "vo",
    "modificationhost": "node",
    "kind": "kind",
}
ERROR_COLUMNS: Mapping[str, str] = {
    "pilot": "pilot_error_code",
    "exe": "exe_error_code",
    "sup": "sup_error_code",
    "ddm": "ddm_error_code",
    "brokerage": "brokerage_error_code",
    "job_dispatcher": "job_dispatcher_error_code",
    "task_buffer": "task_buffer_error_code",
    "trans": "trans_exit_code",
}


#: Readers and proxies take headers of few kilobytes: so many notes are told.
MOST_NOTES = 5
#: Parameters of every page.
_OF_PAGES = frozenset({"json"})


def notes(asked: Query, states: Mapping[str, Iterable[str]]) -> list[str]:
    """What of a question was passed over, or finds nothing ever: parameters that there are not, and unknown states.

    `states` has the parameters that are states, each with those that there are.
    """
    known = asked.__class__.model_fields
    wrong: list[tuple[str, str, Iterable[str]]] = [
        (f"there is no parameter {name[:40]!a} here, and it was passed over", name, known)
        for name in request.args
        if name not in known and name not in _OF_PAGES
    ]
    for name, there_are in states.items():
        words = {str(state) for state in there_are}
        for word in alternatives(getattr(asked, name) or ""):
            if "*" not in word and word not in words:
                wrong.append((f"there is no state {word[:40]!a}", word, words))
    told = [f"{what}: {guess(word, words)}" for what, word, words in wrong[:MOST_NOTES]]
    return told + [f"and {len(wrong) - MOST_NOTES} more"] * (len(wrong) > MOST_NOTES)


def alternatives(text: str) -> list[str]:
    """The values in `a|b` or `a,b`."""
    return [word.strip() for word in text.replace(",", "|").split("|") if word.strip()]


def _columns(asked: Window, names: Mapping[str, str]) -> dict[str, list[str]]:
    given = {column: getattr(asked, name) for name, column in names.items()}
    return {column: alternatives(text) for column, text in given.items() if text}


def _ids(where: str, given: list[str]) -> list[int]:
    bad = [word for word in given if not (word.isascii() and word.isdigit() and len(word) < 19)]
    if bad:
        raise Invalid("the request", [Fault(where, f"{bad[0][:40]!r} is no id", "give numbers, with | between them")])
    return [int(word) for word in given]
