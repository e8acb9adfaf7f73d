"""The built-in data catalogue: datasets of files with URL, size, adler32 and guid."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import Fault, Invalid, NotFound
from . import bulk
from .jobs import batches
from .selection import like
from .tables import catalogue_datasets as sets
from .tables import catalogue_files as members
from .tables import storages


def dataset_id(tx: sa.Connection, name: str) -> int:
    """The id of a dataset by its name, with or without the trailing slash of containers; raises `NotFound`."""
    found = tx.execute(sa.select(sets.c.dataset_id).where(sets.c.name == name.rstrip("/"))).scalar_one_or_none()
    if found is None:
        raise NotFound(f"there is no dataset {name}", hint="`bamboo dataset list` shows what there is")
    return int(found)


def has_dataset(tx: sa.Connection, name: str) -> bool:
    """Whether there is such a dataset."""
    return tx.execute(sa.select(sets.c.dataset_id).where(sets.c.name == name.rstrip("/"))).first() is not None


def ensure_dataset(tx: sa.Connection, name: str, *, user_name: str, now: datetime) -> int:
    """The id of a dataset, which is made if it is not there."""
    try:
        return dataset_id(tx, name)
    except NotFound:
        pass
    values = {"name": name.rstrip("/"), "user_name": user_name, "scope": scope_of(name), "created_at": now}
    try:
        with tx.begin_nested():
            return int(tx.execute(sa.insert(sets).values(values).returning(sets.c.dataset_id)).scalar_one())
    except sa.exc.IntegrityError:
        return dataset_id(tx, name)  # another writer was first


def owner(tx: sa.Connection, dataset: int) -> str:
    """The user whose dataset it is."""
    return str(tx.execute(sa.select(sets.c.user_name).where(sets.c.dataset_id == dataset)).scalar_one())


def scope_of(name: str) -> str:
    """The scope of a dataset: what is before a colon, else its first two fields (`user.alice` of `user.alice.a`)."""
    given, colon, _ = name.partition(":")
    return given if colon else ".".join(name.rstrip("/").split(".")[:2])


def add_files(tx: sa.Connection, dataset: int, rows: Sequence[Mapping[str, Any]], *, now: datetime) -> int:
    """Register files that the dataset does not have yet, by their `lfn`; returns how many were new.

    Rows have lfn, url, size_bytes and adler32, and may have scope, guid, n_events and pandaid. Without a scope they
    have that of the dataset: PanDA's pilot finds files by scope and name (pilot protocol 13).
    """
    scope = tx.scalar(sa.select(sets.c.scope).where(sets.c.dataset_id == dataset))
    return _enter(tx, [({"dataset_id": dataset, "scope": scope}, rows)], now)


def add_files_of_many(
    tx: sa.Connection, files: Mapping[str, Sequence[Mapping[str, Any]]], *, user_name: str, now: datetime
) -> int:
    """`ensure_dataset` and `add_files` for {dataset name: rows}, in as many statements as for one."""
    homes = _homes(tx, [name.rstrip("/") for name in files])
    for name in sorted(files):
        if name.rstrip("/") not in homes:
            ensure_dataset(tx, name, user_name=user_name, now=now)
            homes |= _homes(tx, [name.rstrip("/")])
    return _enter(tx, [(homes[name.rstrip("/")], files[name]) for name in sorted(files)], now)


def _homes(tx: sa.Connection, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What files get from the datasets of these names."""
    statement = sa.select(sets.c.name, sets.c.dataset_id, sets.c.scope).where(bulk.among(tx, sets.c.name, names))
    return {name: {"dataset_id": dataset, "scope": scope} for name, dataset, scope in tx.execute(statement).all()}


def _enter(
    tx: sa.Connection, files: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]], now: datetime
) -> int:
    common = {"n_events": None, "pandaid": None, "created_at": now}
    new = {
        (home["dataset_id"], row["lfn"]): {
            **common,
            **row,
            **home,
            "guid": row.get("guid") or str(uuid.uuid4()),
            "scope": row.get("scope") or home["scope"],
        }
        for home, rows in files
        for row in rows
    }
    in_order = [new[key] for key in sorted(new)]  # so that two writers never wait for each other in a circle
    return sum(bulk.insert_new(tx, members, ("dataset_id", "lfn"), some) for some in batches(in_order))


def must_be_same(tx: sa.Connection, dataset: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse files that the dataset has already, or that are given twice, with another content; raises `Invalid`.

    Rows are as for `add_files`. What a task has read by a name stays what that name stands for.
    """
    seen: dict[str, tuple[str, int, str]] = {}
    for some in batches([row["lfn"] for row in rows]):
        wanted = sa.select(members.c.lfn, members.c.size_bytes, members.c.adler32)
        for known in tx.execute(wanted.where(members.c.dataset_id == dataset, bulk.among(tx, members.c.lfn, some))):
            seen[known.lfn] = ("is registered", known.size_bytes, known.adler32)
    faults = []
    for row in rows:
        said, size_bytes, adler32 = seen.setdefault(row["lfn"], ("is given", row["size_bytes"], row["adler32"]))
        if (size_bytes, adler32) != (row["size_bytes"], row["adler32"]):
            was = f"{said} with {size_bytes} bytes and adler32 {adler32}"
            now = f"here it has {row['size_bytes']} bytes and adler32 {row['adler32']}"
            do = "give the new content another file name, or put it into another dataset"
            faults.append(Fault(f"file {row['lfn']}", f"{was}, {now}", do))
    if faults:
        raise Invalid(f"dataset {name} has other files of these names", faults)


def list_files(tx: sa.Connection, dataset: int, *, after: str = "", limit: int = 1000) -> list[sa.Row[Any]]:
    """The files of a dataset in the order of their names, from the one after `after` on."""
    statement = (
        sa.select(members)
        .where(members.c.dataset_id == dataset, members.c.lfn > after)
        .order_by(members.c.lfn)
        .limit(limit)
    )
    return list(tx.execute(statement))


def list_datasets(tx: sa.Connection, *, pattern: str = "", after: str = "", limit: int = 100) -> list[sa.Row[Any]]:
    """Datasets by name, with n_files and size_bytes; `*` in the pattern stands for anything."""
    statement = (
        sa.select(
            sets.c.name,
            sets.c.user_name,
            sets.c.created_at,
            sa.func.count(members.c.file_id).label("n_files"),
            sa.func.coalesce(sa.func.sum(members.c.size_bytes), 0).label("size_bytes"),
        )
        .outerjoin(members, members.c.dataset_id == sets.c.dataset_id)
        .where(sets.c.name > after)
        .group_by(sets.c.dataset_id, sets.c.name, sets.c.user_name, sets.c.created_at)
        .order_by(sets.c.name)
        .limit(limit)
    )
    if pattern:
        statement = statement.where(like(sets.c.name, pattern))
    return list(tx.execute(statement))


def remove_files(tx: sa.Connection, dataset_name: str, lfns: Sequence[str]) -> int:
    """Forget files of a dataset, if there is such a one; returns how many."""
    dataset = sa.select(sets.c.dataset_id).where(sets.c.name == dataset_name.rstrip("/")).scalar_subquery()
    return sum(
        tx.execute(
            sa.delete(members).where(members.c.dataset_id == dataset, bulk.among(tx, members.c.lfn, some))
        ).rowcount
        for some in batches(lfns)
    )


def replicas(tx: sa.Connection, datasets: Sequence[int]) -> list[sa.Row[Any]]:
    """What each storage has of the datasets together: storage, n_files, size_bytes.

    A file is at the storage whose address its URL begins with; `file://localhost/` and `file:///` are the same place.
    """
    url, place = (_without_localhost(column) for column in (members.c.url, storages.c.endpoint + storages.c.path))
    statement = (
        sa.select(
            storages.c.storage,
            sa.func.count(members.c.file_id).label("n_files"),
            sa.func.sum(members.c.size_bytes).label("size_bytes"),
        )
        .join(members, sa.func.substr(url, 1, sa.func.length(place)) == place)
        .where(members.c.dataset_id.in_(list(datasets)))
        .group_by(storages.c.storage)
        .order_by(storages.c.storage)
    )
    return list(tx.execute(statement))


def _without_localhost(address: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.func.replace(address, "file://localhost/", "file:///")
