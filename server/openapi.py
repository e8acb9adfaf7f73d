"""The OpenAPI 3.1 document, made of what stands beside the routes: models that check, who may come, and docstrings.

Pages for people are in it too, for the JSON behind them (`?json`). The old style (/server/panda/<method>) is not: what
it answers, pickles among it, cannot be said in OpenAPI.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from inspect import cleandoc
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from werkzeug.routing import Rule

from .. import __version__
from ..core.event_stream import EVENT_STREAM
from .addresses import LARGEST
from .auth.access import CHECKS, NEEDS, Access, Need, access_of
from .declared import file_field_of, headers_of, media_type_of, model_of
from .entity_tags import is_tagged
from .envelope import JSON
from .errors import API

Json = dict[str, Any]
OLD_STYLE = "/server/panda/"
#: Pages for people, by their endpoints: HTML, or what is behind them as JSON.
PAGES = "views."
HTML = "text/html"
#: A variable part of an address, with what it has to be.
_PART = re.compile(r"<(?:(\w+):)?(\w+)>")
_DESCRIPTION = """\
A workload management system of PanDA's kind. Routes and shapes are PanDA's where PanDA has them.

A request that is understood and refused is HTTP 200 with `success` false; `code` is stable, `message` says what
happened and what to do, `errors` has every fault of the input at once.

The word `None` in a query, and `null` in a body, stand for an argument that is absent. Bodies may be gzip, and a form
in the place of JSON; lists may be text with commas, and lists and objects JSON text. Moments in answers are
`{"__datetime__": "2026-01-01T00:00:00+00:00"}`.
"""
_TEXT: Json = {"type": "string", "minLength": 1}
_WHOLE: Json = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_TOKEN = "token"  # noqa: S105 - the name of the scheme
_FAULT = {
    "type": "object",
    "required": ["where", "what", "do"],
    "properties": {name: {"type": "string"} for name in ("where", "what", "do")},
}
_REASONS = ("code", "status", "errors", "hint", "request_id")
_SCHEMAS: Json = {
    "Success": {
        "type": "object",
        "description": "The request was carried out. Some routes give more keys, beside these.",
        "required": ["success", "message", "data"],
        "properties": {"success": {"const": True}, "message": {"type": "string"}, "data": {}},
    },
    "Refusal": {
        "type": "object",
        "description": "The request was refused. A pilot for which there is no work gets it without the reasons.",
        "required": ["success", "message", "data"],
        "properties": {
            "success": {"const": False},
            "message": {"type": "string"},
            "data": {},
            "code": {"type": "string", "pattern": "^BAM-[A-Z0-9-]+$"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "errors": {"type": "array", "items": _FAULT},
            "hint": {"type": "string"},
            "request_id": {"type": "string"},
        },
        "dependentRequired": {name: list(_REASONS) for name in _REASONS},
    },
    "NotReady": {
        "type": "object",
        "required": ["status", "problems"],
        "properties": {"status": {"const": "not ready"}, "problems": {"type": "array", "items": {"type": "string"}}},
    },
}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _json(schema: Json) -> Json:
    return {JSON: {"schema": schema}}


def _no(words: str, schema: Json | None = None) -> Json:
    return {"description": words, "content": _json(schema or _ref("schemas", "Refusal"))}


def _on_page(response: Json) -> Json:
    """The response of a page, which is HTML where nobody asks for JSON."""
    if "content" not in response:
        return response
    return {**response, "content": {**response["content"], HTML: {"schema": {"type": "string"}}}}


_RESPONSES: Json = {
    "204": {"description": "It is over, and the reader knows all of it: who reads in a browser comes no more"},
    "302": {"description": "Another page"},
    "304": {"description": "The answer is still that of the `ETag` in `If-None-Match`"},
    "400": _no("The body is no JSON, broken gzip, or has NaN in it"),
    "401": _no("The caller has not shown who they are"),
    "403": _no("The caller has no role for this address"),
    "404": _no("There is no such thing"),
    "408": {
        "description": "Nothing came for a while in the middle of the body",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    "409": _no("Not in the state that it has"),
    "413": _no("More bytes than are accepted, or nested too deep"),
    "422": _no("The arguments are wrong"),
    "429": _no("This user asks too often: again after `Retry-After` seconds"),
    "500": _no("A bug; the server's log has it under the request id"),
    "503": _no(
        "The database or the disk is away, or the server has too much to do: again after `Retry-After` seconds",
        {"anyOf": [_ref("schemas", "Refusal"), _ref("schemas", "NotReady")]},
    ),
    "507": _no("No room on a disk: the administrator has to make some"),
}


#: What the headers mean that some routes look at.
_HEADERS: Json = {
    "Idempotency-Key": {
        "description": "sent again with the same key, it is the same request",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Last-Event-ID": {"description": "the last event that the reader has seen", "schema": {"type": "string"}},
    "X-Retry": {"description": "how often this request was sent before", "schema": {"type": "integer", "minimum": 0}},
}


def document(app: Flask) -> Json:
    """The document about an application, as JSON is written; made once."""
    if "openapi" not in app.extensions:
        app.extensions["openapi"] = _made(app)
    found: Json = app.extensions["openapi"]
    return found


def documented(app: Flask) -> Iterator[tuple[str, Rule]]:
    """The operations that are documented, as a verb and a rule; with `/` at the end or without is the same one."""
    rules = {rule.rule: rule for rule in app.url_map.iter_rules() if not rule.rule.startswith(OLD_STYLE)}
    for path, rule in sorted(rules.items()):
        if path == "/" or path.rstrip("/") == path or path.rstrip("/") not in rules:
            yield from ((verb, rule) for verb in sorted((rule.methods or set()) & {"GET", "POST"}))


def path_of(rule: Rule) -> str:
    """An address as OpenAPI writes it."""
    return _PART.sub(r"{\2}", rule.rule)


def _made(app: Flask) -> Json:
    paths: dict[str, Json] = {}
    tags: dict[str, str] = {}
    schemas = dict(_SCHEMAS)
    for verb, rule in documented(app):
        view, tag = app.view_functions[rule.endpoint], rule.endpoint.partition(".")[0]
        tags[tag] = _about(sys.modules[app.blueprints[tag].import_name].__doc__)
        paths.setdefault(path_of(rule), {})[verb.lower()] = _operation(verb, rule, tag, view, schemas)
    responses = {f"Status{status}": response for status, response in _RESPONSES.items()}
    responses |= {f"Page{status}": _on_page(response) for status, response in _RESPONSES.items()}
    token = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "RS256 or ES256"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Bamboo", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": tags[name]} for name in app.blueprints if name in tags],
        "paths": paths,
        "components": {"securitySchemes": {_TOKEN: token}, "schemas": schemas, "responses": responses},
    }


def _operation(verb: str, rule: Rule, tag: str, view: Callable[..., Any], schemas: Json) -> Json:
    access, model, field = access_of(view, {}), model_of(view), file_field_of(view)
    summary, _, more = _words(view.__doc__).partition("\n")
    told: Json = {
        "operationId": _identifier(verb, rule),
        "tags": [tag],
        "summary": summary,
        "description": "\n\n".join(part for part in (more.strip(), _who(access)) if part),
        "security": [] if access.need is Need.NOBODY else [{_TOKEN: []}],
        "responses": _responses(verb, rule, access, view),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _WHOLE if kind == "int" else _TEXT}
        for kind, name in _PART.findall(rule.rule)
    ]
    parameters += [{"name": name, "in": "header", "required": False, **_HEADERS[name]} for name in headers_of(view)]
    if model is not None:
        schema = _schema(model, schemas)
        if verb == "POST":
            told["requestBody"] = {"required": True, "content": _json(schema)}
        else:
            parameters += _query(schema)
    if field is not None:
        file = {"type": "object", "required": [field], "properties": {field: {"type": "string", "format": "binary"}}}
        told["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": file}}}
    return {**told, "parameters": parameters} if parameters else told


class _Untitled(GenerateJsonSchema):
    """Schemas without the titles that only repeat names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schema(model: type[BaseModel], schemas: Json) -> JsonSchemaValue:
    """The schema of a model; those inside it are added to the schemas that there are."""
    made = model.model_json_schema(schema_generator=_Untitled, ref_template="#/components/schemas/{model}")
    made.pop("title")
    for name, schema in made.pop("$defs", {}).items():
        if schemas.setdefault(name, schema) != schema:
            raise RuntimeError(f"two schemas have the name {name}")
    return made


def _query(schema: JsonSchemaValue) -> Iterator[Json]:
    required = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        one = _present(given)
        parameter = {"name": name, "in": "query", "required": name in required}
        if words := one.pop("description", None):
            parameter["description"] = words
        yield {**parameter, **({"content": _json(one)} if _is_json_text(one) else {"schema": one})}


def _is_json_text(schema: Json) -> bool:
    """Whether an argument of a query is an object, or a list of some: those travel as JSON text."""
    return "object" in (schema.get("type"), schema.get("items", {}).get("type"))


def _present(schema: Json) -> Json:
    """The schema of an argument that is there: in a query none is null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, **options[0]}
    return {key: value for key, value in schema.items() if (key, value) != ("default", None)}


def _responses(verb: str, rule: Rule, access: Access, view: Callable[..., Any]) -> Json:
    is_api, is_page = rule.rule.startswith(API), rule.endpoint.startswith(PAGES)
    is_closed, reads = access.need is not Need.NOBODY, verb == "POST" or model_of(view) is not None
    is_stream = media_type_of(view) == EVENT_STREAM
    statuses = {
        "204": is_stream,
        "302": is_page,
        "304": is_tagged(verb, rule.rule, access) and not is_stream,
        "400": verb == "POST",
        "401": is_closed or is_page,  # administrators may close pages
        "403": is_closed or is_page,
        "404": bool(rule.arguments) or is_page,
        "408": verb == "POST",
        "409": is_page,
        "413": reads,
        "422": not is_api,
        "429": is_closed and access.need is not Need.PILOT,
        **dict.fromkeys(("500", "503", "507"), True),
    }
    kind = "Page" if is_page else "Status"
    refusals = {status: _ref("responses", f"{kind}{status}") for status, can_be in statuses.items() if can_be}
    said = "Carried out, or refused: see `success`" if is_api else "What was asked for"
    good = {"description": said, "content": _content(is_api, media_type_of(view))}
    return {"200": _on_page(good) if is_page else good, **refusals}


def _content(is_api: bool, media_type: str) -> Json:
    """What a route answers with; one of the API that answers with something else refuses in JSON still."""
    schema: Json = {} if media_type == EVENT_STREAM else {"type": "string"}  # of each event, as readers take it
    text = {} if media_type == JSON else {media_type: {"schema": schema}}
    if is_api:
        shapes = [_ref("schemas", "Refusal")] if text else [_ref("schemas", "Success"), _ref("schemas", "Refusal")]
        return {**text, **_json({"anyOf": shapes})}
    return text or _json({})


def _identifier(verb: str, rule: Rule) -> str:
    if not rule.rule.startswith(API):
        return str(rule.endpoint).replace(".", "_")
    name = rule.rule.removeprefix(API).replace("/", "_")
    return f"{name}_by_post" if verb == "POST" and "GET" in (rule.methods or ()) else name


def _who(access: Access) -> str:
    """Who may come, and what is asked of them further, as sentences."""
    checks = "".join(f"; {CHECKS[check]}" for check in access.checks)
    return f"For {NEEDS[access.need]}{checks}."


def _about(text: str | None) -> str:
    """What a module says that its routes are for."""
    line = _words(text).partition("\n")[0]
    words = line.partition(": ")[2] or line
    return f"{words[:1].upper()}{words[1:]}"


def _words(text: str | None) -> str:
    """A docstring without the sources of its rules."""
    return re.sub(r"\s\([^()]*\b(?:protocol|manual)\b[^()]*\)", "", cleandoc(text or ""))
