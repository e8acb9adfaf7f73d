"""Who may come to an address: declared beside each route, asked at the door, and printed in docs/access.md.

`need` is asked before a request comes to its route. `checks` say what the route asks further, of the objects that the
request names; tests/server/test_access.py tries every operation as every kind of caller and holds it to what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast

from flask import Flask, Request

from .caller import Caller, how_to_get
from .errors import NotAdmitted

View = TypeVar("View", bound=Callable[..., Any])


class Need(StrEnum):
    """Who may come to an address."""

    NOBODY = "nobody"  #: anyone, without saying who they are
    ANYONE = "anyone"  #: anyone who has shown who they are
    PILOT = "pilot"
    USER = "user"
    ADMIN = "admin"


class Check(StrEnum):
    """What a route asks of its caller and the objects that are named."""

    OWN = "own"
    TASK = "task"
    JOB = "job"
    DATASET = "dataset"
    NAMES = "names"
    PARAMETERS = "parameters"
    QUEUE = "queue"
    ATTEMPT = "attempt"


NEEDS = {
    Need.NOBODY: "everybody, without saying who they are",
    Need.ANYONE: "everybody who shows who they are, pilots too",
    Need.PILOT: "role `pilot` or `admin`",
    Need.USER: "every role but `pilot` alone",
    Need.ADMIN: "role `admin`, or a program on this machine without a token",
}
CHECKS = {
    Check.OWN: "it is about the caller's own things, and about no other's",
    Check.TASK: "the task is the caller's, or the caller has role `production` of its VO, or `admin`",
    Check.JOB: "the job is the caller's, or the caller has role `production` of its VO, or `admin`",
    Check.DATASET: "the dataset is the caller's, or the caller has role `production` or `admin`",
    Check.NAMES: "new names are in the caller's name spaces, or the role is `production` (of the task's VO) or `admin`",
    Check.PARAMETERS: "the parameters ask for nothing that is kept for role `production` of the task's VO",
    Check.QUEUE: "a token for certain queues names the queue",
    Check.ATTEMPT: "the attempt that is named holds the job, a token for certain queues names the job's, and one "
    "that came with a job is for this attempt",
}
#: What somebody is who does not meet a need; the need is named like the role that meets it.
_NOT = {Need.PILOT: "no pilot", Need.USER: "a pilot and no user", Need.ADMIN: "no administrator"}


@dataclass(frozen=True)
class Access:
    """Who may come, and what is asked of them further."""

    need: Need
    checks: tuple[Check, ...] = ()

    def admits(self, caller: Caller) -> bool:
        """Whether a caller who is known may come; what the route asks further is another matter."""
        if caller.attempt is not None and Check.ATTEMPT not in self.checks:
            return self.need is Need.NOBODY
        match self.need:
            case Need.PILOT:
                return caller.is_pilot
            case Need.USER:
                return caller.is_user
            case Need.ADMIN:
                return caller.is_administrator
        return True

    def must_admit(self, caller: Caller) -> None:
        """Raise `NotAdmitted` unless a caller may come."""
        if self.admits(caller):
            return
        if caller.attempt is not None:
            what = f"the token is for {caller.attempt}, and only for reports on it"
            raise NotAdmitted(what, hint="send the pilot's own token for everything else")
        hint = f"{how_to_get(self.need)}; `bamboo whoami --explain` says more"
        raise NotAdmitted(f"{caller.user_name} is {_NOT[self.need]}", hint=hint)


NOBODY = Access(Need.NOBODY)
ANYONE = Access(Need.ANYONE)
USER = Access(Need.USER)
PILOT = Access(Need.PILOT)
ADMIN = Access(Need.ADMIN)
OWN = Access(Need.USER, (Check.OWN,))
OF_TASK = Access(Need.USER, (Check.TASK,))
OF_JOB = Access(Need.USER, (Check.JOB,))
OF_DATASET = Access(Need.USER, (Check.DATASET, Check.NAMES))
SUBMISSION = Access(Need.USER, (Check.PARAMETERS, Check.NAMES))
RETRY = Access(Need.USER, (Check.TASK, Check.PARAMETERS, Check.NAMES))
FOR_QUEUE = Access(Need.PILOT, (Check.QUEUE,))
HOLDER = Access(Need.PILOT, (Check.ATTEMPT,))
#: An address that there is not: only those who are known hear that it is not there.
UNKNOWN = ANYONE

#: What is declared: for all requests of a route, or by its variable parts for one that stands for many operations.
Declared = Access | Callable[[Mapping[str, Any]], Access]


def open_to(declared: Declared) -> Callable[[View], View]:
    """Declare who may come to a route; stands below the lines that say where it is."""

    def declare(view: View) -> View:
        cast(Any, view).access = declared
        return view

    return declare


def access_of(view: Callable[..., Any], arguments: Mapping[str, Any]) -> Access:
    """Who may come to a view; raises `RuntimeError` for one that does not say."""
    declared: Declared | None = getattr(view, "access", None)
    if declared is None:
        raise RuntimeError(f"{view.__module__}.{view.__name__} does not declare who may come (`@open_to`)")
    return declared if isinstance(declared, Access) else declared(arguments)


def access_to(app: Flask, request: Request) -> Access:
    """Who may come where a request goes to."""
    rule = request.url_rule
    return UNKNOWN if rule is None else access_of(app.view_functions[rule.endpoint], request.view_args or {})


def must_all_be_declared(app: Flask) -> None:
    """Raise `RuntimeError` that names every route which does not declare who may come."""
    if missing := sorted(_undeclared(app)):
        raise RuntimeError(f"routes that do not declare who may come (`@open_to`): {', '.join(missing)}")


def _undeclared(app: Flask) -> Iterator[str]:
    for rule in app.url_map.iter_rules():
        if getattr(app.view_functions[rule.endpoint], "access", None) is None:
            yield rule.rule
