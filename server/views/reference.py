"""/api/: every operation, for people who write programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, current_app

from ..addresses import LARGEST
from ..auth.access import NOBODY, open_to
from ..envelope import JSON
from .show import routes, show


@routes.get("/api/")
@open_to(NOBODY)
def reference() -> Response:
    """The OpenAPI document as a page."""
    from ..openapi import document  # it is asked for seldom

    told = document(current_app)
    nouns = [(tag["name"], tag["description"], list(_operations(told, tag["name"]))) for tag in told["tags"]]
    return show("reference.html", "The HTTP API", {"info": told["info"], "nouns": nouns}, rows=told)


def _operations(told: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    for path, verbs in told["paths"].items():
        for verb, operation in verbs.items():
            if tag in operation["tags"]:
                yield {**operation, "verb": verb.upper(), "path": path, "arguments": list(_arguments(operation))}


def _arguments(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments of an operation with their place, kind, and what is taken where they are missing."""
    for one in operation.get("parameters", ()):
        schema, words = one.get("schema"), one.get("description", "")
        if schema is None:
            schema, words = one["content"][JSON]["schema"], f"{words} as JSON text".lstrip()
        yield _argument(one["name"], one["in"], schema, one["required"], words)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        place = "file" if media_type.startswith("multipart/") else "body"
        schema = content["schema"]
        for name, one in schema.get("properties", {}).items():
            yield _argument(name, place, one, name in schema.get("required", ()), one.get("description", ""))


def _argument(name: str, place: str, schema: dict[str, Any], is_required: bool, words: str) -> dict[str, Any]:
    given = schema.get("default")
    default = "required" if is_required else "" if given in (None, "", []) else json.dumps(given)
    return {"name": name, "place": place, "kind": _kind(schema), "default": default, "words": words}


def _kind(schema: dict[str, Any]) -> str:
    """What a value has to be, in words."""
    if options := schema.get("anyOf"):
        return " or ".join(kind for option in options if (kind := _kind(option)) != "null")
    if reference := schema.get("$ref"):
        return str(reference).rpartition("/")[2]
    if words := schema.get("enum"):
        return ", ".join(map(str, words))
    kind = schema.get("type", "anything")
    if kind == "array":
        limit = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"list of {_kind(schema.get('items', {}))}{limit}"
    if kind == "integer" and "minimum" in schema:
        most = schema.get("maximum", LARGEST)
        return f"whole number from {schema['minimum']}" + (f" to {most}" if most < LARGEST else "")
    if kind == "string" and "maxLength" in schema:
        return f"text of at most {schema['maxLength']} characters"
    return {"integer": "whole number", "string": "text", "boolean": "true or false"}.get(kind) or str(kind)
