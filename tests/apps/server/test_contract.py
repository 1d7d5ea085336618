"""Schemathesis asks whatever the server's description allows, and some that it does not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Served, Serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PATHS = [
    ("/v1/images/generations", "POST"),
    ("/v1/images/edits", "POST"),
    ("/v1/models", "GET"),
    ("/v1/models/{name}", "GET"),
    ("/v1/files/{name}", "GET"),
    ("/healthz", "GET"),
    ("/metrics", "GET"),
]


@pytest.fixture(scope="module")
def contract(serving: Serving, tiny: Any) -> Any:
    # One step and one picture: what is allowed is quick, and what is not is refused.
    with serving(tiny, steps=1, count=1, megapixels=0.07) as served:
        yield served


def test_every_operation_is_asked(contract: Served):
    found = schemathesis.openapi.from_url(f"{contract.root}/openapi.json").get_all_operations()
    assert sorted((one.ok().path, one.ok().method.upper()) for one in found) == sorted(PATHS)


@pytest.mark.parametrize(("path", "method"), PATHS)
def test_no_request_is_answered_otherwise_than_described_or_with_a_500(
    contract: Served, path: str, method: str
):
    operation = schemathesis.openapi.from_url(f"{contract.root}/openapi.json")[path][method]
    statuses = set()

    @settings(
        max_examples=40 if method == "POST" else 10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert statuses
