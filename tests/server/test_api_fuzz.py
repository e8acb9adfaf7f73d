"""Requests that are made up from the OpenAPI document: none makes a bug, and every answer is as documented.

Half of them keep to the document, half break it. Some of their arguments are real ones, so that they get past the
first "not found".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import sqlalchemy as sa
from flask import Flask
from fuzzing import JSON, ODD, examples
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tokens import Issuer
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.server.errors import API
from bamboo.server.old_style import METHODS
from bamboo.server.openapi import documented, path_of
from bamboo.tests.server.callers import PILOT_HERE, guarded_app, headers_of, owned_objects
from bamboo.tests.server.conftest import World
from bamboo.tests.server.operations import REQUESTS, Objects, parts_of
from bamboo.tests.server.test_faults import OLD_FIELDS

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WHO = ("owner", PILOT_HERE, "admin")
OPERATIONS = list(documented(create_app(Settings(), sa.create_engine("sqlite://"), utc_now)))
#: Of each operation and mode; of those without arguments there is one, or a few.
EXAMPLES = 14
OLD_STYLE_STATUSES = (200, 400, 403, 404, 409, 413, 422, 501)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is found on the way to the database; test_faults.py tries both."""
    return sqlite_url


@pytest.fixture
def guarded(issuer: Issuer, engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Flask:
    return guarded_app(issuer, engine, clock, tmp_path)


@pytest.fixture
def objects(world: World, guarded: Flask, issuer: Issuer) -> Objects:
    return owned_objects(world, guarded, issuer)


def with_real(draw: Any, case: Case[Any], real: Mapping[str, Any], names: Mapping[str, str]) -> Case[Any]:
    """The case with some of its arguments replaced by those of a request that makes sense."""
    given = case.body if isinstance(case.body, dict) else case.query
    if real and isinstance(given, dict):
        for name in draw(st.sets(st.sampled_from(sorted(real)))):
            given[name] = real[name]
    for name in (case.path_parameters or {}) if draw(st.booleans()) else ():
        case.path_parameters[name] = names[name]
    return case


def is_misread(answer: TestResponse) -> bool:
    """Whether arguments are refused by the model that the document is made of, to which they keep."""
    told = answer.get_json(silent=True)
    return isinstance(told, dict) and str(told.get("message")).startswith("the request: ")


@pytest.mark.parametrize(("verb", "rule"), OPERATIONS, ids=str)
def test_no_request_makes_a_bug(verb: str, rule: Rule, guarded: Flask, issuer: Issuer, objects: Objects) -> None:
    operation = schemathesis.openapi.from_wsgi("/api/openapi.json", guarded)[path_of(rule)][verb]
    sensible = REQUESTS[f"{verb} {rule.rule}"]
    real = {} if sensible.by_form else sensible.fields(objects)
    client, headers = guarded.test_client(), [headers_of(issuer, caller) for caller in WHO]

    def tried(mode: GenerationMode) -> None:
        is_exact = mode is GenerationMode.POSITIVE and rule.rule.startswith(API)

        @examples(EXAMPLES)
        @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
        def hold(case: Case[Any], data: Any) -> None:
            asked = with_real(data.draw, case, real, parts_of(rule, objects))
            accept = {"Accept": data.draw(st.sampled_from(["*/*", "application/json"]))}
            for known in headers:
                answer = client.open(**asked.as_transport_kwargs(headers={**known, **accept}), buffered=True)
                asked.validate_response(answer, checks=CHECKS)
                assert not (is_exact and is_misread(answer)), (asked, answer.text)

        hold()

    tried(GenerationMode.POSITIVE)
    if operation.body or operation.query:
        tried(GenerationMode.NEGATIVE)


def test_no_call_of_the_old_style_makes_a_bug(guarded: Flask, issuer: Issuer, objects: Objects) -> None:
    client, headers = guarded.test_client(), [headers_of(issuer, caller) for caller in WHO]

    @examples(400)
    @given(
        method=st.sampled_from(sorted(set(METHODS) - {"putFile"})),
        odd=st.dictionaries(st.sampled_from(OLD_FIELDS), ODD | JSON.map(json.dumps), max_size=3),
        without=st.sets(st.sampled_from(OLD_FIELDS), max_size=3),
        how=st.sampled_from(["query_string", "data", "json"]),
    )
    def hold(method: str, odd: dict[str, Any], without: set[str], how: str) -> None:
        path = f"/server/panda/{method}"
        real = REQUESTS[f"POST {path}"].fields(objects)
        fields = {**{key: value for key, value in real.items() if key not in without}, **odd}
        if how != "json":
            fields = {key: str(value) for key, value in fields.items()}
        for known in headers:
            sent: dict[str, Any] = {how: fields}
            answer = client.post(path, headers={**known, "Accept": "application/json"}, **sent)
            assert answer.status_code in OLD_STYLE_STATUSES, (method, fields, answer.text)

    hold()
