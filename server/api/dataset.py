"""/api/v1/dataset/: the built-in data catalogue."""

from __future__ import annotations

import re
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from ...core.errors import Fault, Invalid
from ...sql import catalogue
from ..auth.access import OF_DATASET, USER, open_to
from ..bodies import AFTER, Body, Query
from ..context import context
from ..declared import reads
from ..envelope import succeeded
from ..identity import caller
from ..name_spaces import must_hold

routes = Blueprint("dataset", __name__)

FILES_PER_CALL = 1000
# \x85 is blank too, as far as we are concerned, but not for all who read these patterns in the OpenAPI document.
DatasetName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s\x85,*/][^\s\x85,*]*$")]
FileName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s\x85,/\x00-\x1f]+$")]
_LOCATION = re.compile(r"(file|https?|root|davs?|gsiftp|srm|s3)://\S+|/\S*")


class NewFile(Body):
    lfn: FileName
    url: Annotated[str, Field(min_length=1, max_length=1024)]
    size_bytes: Annotated[int, Field(ge=0, le=2**63 - 1)]
    adler32: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{1,8}$")]
    guid: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")] = ""
    scope: Annotated[str | None, Field(max_length=64, pattern=r"^[^\s\x85,]+$")] = None
    n_events: Annotated[int | None, Field(ge=0, le=2**63 - 1)] = None


class NewFiles(Body):
    dataset: DatasetName
    files: Annotated[list[NewFile], Field(max_length=FILES_PER_CALL)]
    create: bool = Field(True, description="whether to make the dataset where there is none")


class Listing(Query):
    pattern: str = Field("", max_length=255, description="`*` stands for anything")
    after: str = Field("", max_length=255, description=AFTER)
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class FileListing(Query):
    dataset: DatasetName
    after: str = Field("", max_length=255, description=AFTER)
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000


@routes.post("/add_files")
@open_to(OF_DATASET)
@reads(NewFiles)
def add_files(body: NewFiles) -> Response:
    """Register files in one's own dataset; those that it has already, by their `lfn`, are left as they are.

    With another size or checksum they are refused, and so are all others of the request.
    """
    faults = [
        Fault(f"files[{at}].url", f"{file.url[:80]!r} is no place of a file", "a URL such as file:///data/x, or a path")
        for at, file in enumerate(body.files)
        if not _LOCATION.fullmatch(file.url)
    ]
    if faults:
        raise Invalid("the files", faults)
    now = context().now()
    rows = [
        {**file.model_dump(), "adler32": file.adler32.lower().rjust(8, "0"), "guid": file.guid or None}
        for file in body.files
    ]
    with context().writing() as tx:
        if body.create and not catalogue.has_dataset(tx, body.dataset):
            must_hold(body.dataset, caller())
            dataset = catalogue.ensure_dataset(tx, body.dataset, user_name=caller().user_name, now=now)
        else:
            dataset = catalogue.dataset_id(tx, body.dataset)
        caller().must_own(f"dataset {body.dataset}", catalogue.owner(tx, dataset))
        catalogue.must_be_same(tx, dataset, body.dataset, rows)
        added = catalogue.add_files(tx, dataset, rows, now=now)
        if added < len(rows):  # another request may have registered some meanwhile, with another content
            catalogue.must_be_same(tx, dataset, body.dataset, rows)
    return succeeded({"added": added, "known": len(rows) - added})


@routes.get("/list")
@open_to(USER)
@reads(Listing)
def list_datasets(asked: Listing) -> Response:
    """Datasets in the order of their names, a page at a time."""
    with context().reading() as tx:
        found = catalogue.list_datasets(tx, pattern=asked.pattern, after=asked.after, limit=asked.limit)
    return succeeded(
        [
            {
                "name": row.name,
                "userName": row.user_name,
                "nFiles": row.n_files,
                "sizeBytes": int(row.size_bytes),
                "creationDate": row.created_at,
                "status": "open",
            }
            for row in found
        ]
    )


@routes.get("/get_files")
@open_to(USER)
@reads(FileListing)
def get_files(asked: FileListing) -> Response:
    """The files of a dataset in the order of their names, a page at a time."""
    with context().reading() as tx:
        dataset = catalogue.dataset_id(tx, asked.dataset)
        found = catalogue.list_files(tx, dataset, after=asked.after, limit=asked.limit)
    names = ("lfn", "url", "size_bytes", "adler32", "guid", "scope", "n_events")
    return succeeded([{name: row._mapping[name] for name in names} for row in found])
