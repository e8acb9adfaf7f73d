"""Datasets and files: what the catalogue has, and which tasks read and write it."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from ...core.errors import NotFound
from ...sql import catalogue, page_queries
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from .show import routes, show

PAGE = 100
Name = Annotated[str, Field(max_length=255)]


class Asked(Query):
    datasetname: Name = ""
    after: Name = ""


class OneAsked(Query):
    datasetname: Name
    after: Name = ""


@routes.get("/datasets/")
@open_to(NOBODY)
@reads(Asked)
def list_of_datasets(asked: Asked) -> Response:
    """Datasets of the catalogue by name; `*` in the name stands for anything."""
    with context().reading() as tx:
        found = catalogue.list_datasets(tx, pattern=asked.datasetname, after=asked.after, limit=PAGE)
    rows = [row._asdict() for row in found]
    more = rows[-1]["name"] if len(rows) == PAGE else None
    return show("datasets.html", "Datasets", {"rows": rows, "more": more, "asked": asked.datasetname}, rows=rows)


@routes.get("/dataset")
@routes.get("/dataset/")
@open_to(NOBODY)
@reads(OneAsked)
def dataset(asked: OneAsked) -> Response:
    """One dataset: its files in the catalogue, and its uses by tasks."""
    name = asked.datasetname
    with context().reading() as tx:
        uses = [row._asdict() for row in page_queries.task_datasets(tx, name, limit=PAGE)]
        files = []
        if catalogue.has_dataset(tx, name):
            number = catalogue.dataset_id(tx, name)
            files = [row._asdict() for row in catalogue.list_files(tx, number, after=asked.after, limit=PAGE)]
        elif not uses:
            raise NotFound(f"there is no dataset {name}", hint="/datasets/ lists those of the catalogue")
    more = files[-1]["lfn"] if len(files) == PAGE else None
    return show("dataset.html", name, {"name": name, "files": files, "uses": uses, "more": more})
