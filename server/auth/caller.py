"""The one who makes a request, and what they may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from ...core.errors import NotAllowed

#: Roles that stand above the owners of things.
ABOVE_OWNERS = frozenset({"production", "admin"})
PILOTS = frozenset({"pilot", "admin"})
#: What `bamboo` leaves out of a nickname.
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


def how_to_get(role: str) -> str:
    """What makes somebody have a role."""
    issuing = "`bamboo client env`" if role == "user" else f"`bamboo client token --role {role}`"
    given = f"the role {role} comes with a group of the token: ask whoever issues tokens"
    return f"{given}; on your own machine {issuing} makes one"


class Attempt(NamedTuple):
    """One attempt at a job."""

    pandaid: int
    attempt_nr: int

    def __str__(self) -> str:
        return f"attempt {self.attempt_nr} at job {self.pandaid}"


@dataclass(frozen=True)
class Caller:
    """Who calls. Roles: `user`, `pilot`, `production` (acts on every task of the VO), `admin` (on everything).

    `vo` is empty for callers who have shown no token. `queues` are those that a pilot's token is for; None for all.
    `attempt` is the only one that the token is for; None for all.
    """

    user_name: str
    roles: frozenset[str] = frozenset()
    is_local: bool = False
    nickname: str = ""
    vo: str = ""
    groups: frozenset[str] = frozenset()
    queues: frozenset[str] | None = None
    attempt: Attempt | None = None

    @property
    def nicknames(self) -> frozenset[str]:
        """The words after `user.` in the names of this caller's datasets.

        Clients leave out of the nickname what names cannot have, or, told so by PANDA_NICKNAME_REPLACE, what is after
        its `@` (client protocol 4.2). A token without a nickname leaves them the login name, which is not shown here:
        the user name has to do then, in either spelling.
        """
        given = [self.nickname, self.nickname.partition("@")[0]]
        if not self.nickname:
            given = [self.user_name, self.user_name.lower()]
        return frozenset(word for name in given for word in (name, _UNFIT.sub("", name)) if word)

    @property
    def is_user(self) -> bool:
        """Whether this is a person or service with tasks of its own, and more than a pilot."""
        return bool(self.roles - {"pilot"})

    @property
    def is_pilot(self) -> bool:
        return bool(self.roles & PILOTS)

    def has_role(self, role: str, vo: str | None = None) -> bool:
        """Whether this caller has a role, in a VO if that matters; `admin` counts in all of them."""
        return "admin" in self.roles or (role in self.roles and (vo is None or not self.vo or vo == self.vo))

    def may_own(self, owner: str, vo: str | None = None) -> bool:
        """Whether this is the owner of a thing (of a VO), or has a role that stands above owners."""
        return self.user_name == owner or self.has_role("production", vo)

    def must_own(self, what: str, owner: str, vo: str | None = None) -> None:
        """Raise `NotAllowed` unless this is the owner of a thing (of a VO), or has a role that stands above owners."""
        if not self.may_own(owner, vo):
            raise NotAllowed(
                f"{what} belongs to {owner}, not to {self.user_name}",
                hint="ask its owner, or act with the role production of its VO: `bamboo whoami --explain` says how",
            )

    @property
    def is_administrator(self) -> bool:
        """Whether this is an administrator, which tokenless callers on the server's machine are."""
        return self.is_local or "admin" in self.roles

    def serves(self, queue: str) -> bool:
        """Whether this caller may be a pilot of a queue, as far as the token is for certain ones."""
        return self.queues is None or queue in self.queues

    def must_serve(self, queue: str, what: str) -> None:
        """Raise `NotAllowed` if this is a pilot whose token is for other queues than that of a thing."""
        if not self.serves(queue):
            theirs = ", ".join(sorted(self.queues or ()))
            raise NotAllowed(
                f"{what} is of queue {queue}, but the token of {self.user_name} is for {theirs} only",
                hint=f"send a token for that queue; on your own machine "
                f"`bamboo client token --role pilot --queue {queue}` makes one",
            )

    def attempt_at(self, pandaid: int, named: int | None) -> int | None:
        """The attempt at a job that this caller speaks for: the one that is named, else the one that the token is for.

        None if neither says. Raises `NotAllowed` if the token is for another.
        """
        mine = self.attempt
        if mine is None:
            return named
        if mine.pandaid != pandaid or named not in (None, mine.attempt_nr):
            what = f"job {pandaid}" if named is None else str(Attempt(pandaid, named))
            raise NotAllowed(
                f"this is about {what}, but the token is for {mine} only",
                hint="send the token that came with the job, or the pilot's own",
            )
        return mine.attempt_nr
