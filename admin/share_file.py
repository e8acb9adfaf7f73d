"""The file that `bamboo share import` reads: shares, resource types and work queues as JSON (docs/shares.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import Fault, Invalid
from ..core.patterns import ATTRIBUTES
from ..core.shares import Share
from ..core.tagging import ResourceType, WorkQueue
from ..core.validation import faults_of

Name = Annotated[str, Field(min_length=1, max_length=64)]
Pattern = Annotated[str, Field(max_length=255)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Share(_Entry):
    name: Name
    parent: Name | None = None
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    match_order: int = 0
    prod_source_label: Pattern | None = None
    working_group: Pattern | None = None
    campaign: Pattern | None = None
    processing_type: Pattern | None = None
    vo: Annotated[str, Field(max_length=64)] | None = None

    def share(self) -> Share:
        patterns = {name: pattern for name in ATTRIBUTES if (pattern := getattr(self, name))}
        return Share(self.name, self.parent, self.value, self.match_order, patterns)


class _ResourceType(_Entry):
    resource_name: Annotated[str, Field(min_length=1, max_length=32)]
    min_core: int = 1
    max_core: int | None = None
    min_ram_per_core_mb: int = 0
    max_ram_per_core_mb: int | None = None


class _WorkQueue(_Entry):
    queue_id: int
    queue_name: Name
    queue_type: Name
    vo: Name
    queue_function: Name = "Resource"
    criteria: dict[str, Pattern] = Field(default_factory=dict)


class _File(_Entry):
    shares: list[_Share] | None = None
    resource_types: list[_ResourceType] | None = None
    work_queues: list[_WorkQueue] | None = None


@dataclass(frozen=True)
class ShareFile:
    """What a file says; None for a section that it does not have, which is left as it is."""

    shares: Sequence[Share] | None
    resource_types: Sequence[ResourceType] | None
    work_queues: Sequence[WorkQueue] | None


def parse(document: Any) -> ShareFile:
    """The sections of a document; raises `Invalid` with all that is wrong with its form."""
    if not isinstance(document, Mapping):
        fault = Fault(
            "the file", "is no JSON object", 'it looks like {"shares": [{"name": "production", "value": 60}]}'
        )
        raise Invalid("the shares", [fault])
    try:
        read = _File.model_validate(document)
    except ValidationError as error:
        raise Invalid("the shares", faults_of(error)) from error
    return ShareFile(
        None if read.shares is None else [one.share() for one in read.shares],
        None if read.resource_types is None else [ResourceType(**one.model_dump()) for one in read.resource_types],
        None if read.work_queues is None else [WorkQueue(**one.model_dump()) for one in read.work_queues],
    )
