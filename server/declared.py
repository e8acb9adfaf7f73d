"""What routes declare beside who may come (`@open_to`): what they read, and in which form they answer.

The declaration is what does it: a request is checked by the model that is named, and the OpenAPI document is made of
the same models (`openapi.py`), so that the two cannot say different things.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from flask import Response, request
from pydantic import BaseModel

from .bodies import read_body, read_query

Model = TypeVar("Model", bound=BaseModel)
#: The form of answers of several forms.
ANYTHING = "*/*"
Parts = ParamSpec("Parts")
View = TypeVar("View", bound=Callable[..., Any])


def reads(
    model: type[Model], *, headers: tuple[str, ...] = ()
) -> Callable[[Callable[Concatenate[Model, Parts], Response]], Callable[Parts, Response]]:
    """Declare the arguments of a route, which it gets as one object: of a POST from the body, else from the query.

    Nothing of the route runs for a request whose arguments are wrong; that raises `Invalid`, `Unreadable`, `TooLarge`.
    The parts of its address follow. `headers` are told in the document only: the route looks at them by itself.
    """

    def declare(view: Callable[Concatenate[Model, Parts], Response]) -> Callable[Parts, Response]:
        @functools.wraps(view)
        def checked(*args: Parts.args, **parts: Parts.kwargs) -> Response:
            return view(read_body(model) if request.method == "POST" else read_query(model), *args, **parts)

        cast(Any, checked).model, cast(Any, checked).headers = model, headers
        return checked

    return declare


def reads_file(field: str) -> Callable[[View], View]:
    """Declare that a route takes in a file, by its field of a multipart body."""
    return _says(file_field=field)


def answers_with(media_type: str) -> Callable[[View], View]:
    """Declare the form of the answers of a route that are no JSON."""
    return _says(media_type=media_type)


def model_of(view: Callable[..., Any]) -> type[BaseModel] | None:
    """The arguments of a route, None if it has none."""
    return cast("type[BaseModel] | None", getattr(view, "model", None))


def headers_of(view: Callable[..., Any]) -> tuple[str, ...]:
    """The headers that a route looks at besides its arguments."""
    return cast("tuple[str, ...]", getattr(view, "headers", ()))


def file_field_of(view: Callable[..., Any]) -> str | None:
    """The field in which a route takes a file, None if it takes none."""
    return cast("str | None", getattr(view, "file_field", None))


def media_type_of(view: Callable[..., Any]) -> str:
    """The form in which a route answers."""
    return cast(str, getattr(view, "media_type", "application/json"))


def _says(**words: str) -> Callable[[View], View]:
    def declare(view: View) -> View:
        cast(Any, view).__dict__.update(words)
        return view

    return declare
