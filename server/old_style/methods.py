"""What a method of the old style is, and the fields that it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel

from ..auth.access import Access
from ..bodies import arguments, check, clean
from .replies import Shape

Fields = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Method:
    """What a method does with its fields, the shape of its answer, and who may call it."""

    act: Callable[[Fields], Any]
    shape: Shape
    access: Access


def read_fields() -> Fields:
    """The fields of a request, in the query or the body; of a multipart body none, for its file is not read yet.

    Absent ones are left out. Raises `Invalid`, `Unreadable` and `TooLarge`.
    """
    fields: Fields = {key: clean(value) for key, value in request.args.items()}
    if request.mimetype != "multipart/form-data" and request.method == "POST" and request.get_data():
        fields |= arguments()
    return {key: value for key, value in fields.items() if value not in (None, "None", "")}


def renamed(model: type[Model], fields: Fields, names: Mapping[str, str], **more: Any) -> Model:
    """Fields under the names that the new API has for them, checked as it checks them; raises `Invalid`."""
    given = {names[key]: value for key, value in fields.items() if key in names}
    return check(model, {**given, **more})
