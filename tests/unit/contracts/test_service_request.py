"""How a service may be asked, and which sentence a wrong declaration gets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.contracts.model import Sector
from pipelines.contracts.service_request import ServiceRequest

PAGES = {"kind": "number", "parameter": "page"}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"path": "v1/gia"}, "should match pattern"),
        ({"path": "/v1/gia?token=x"}, "should match pattern"),
        ({"path": "//khac.vn/gia\n"}, "should match pattern"),
        ({"path": "/a", "records": "data[0]"}, "should match pattern"),
        ({"path": "/a", "pages": {"kind": "number"}}, "pages by number need `parameter`"),
        ({"path": "/a", "pages": {"kind": "cursor", "parameter": "c"}}, "pages by cursor need `next`"),
        (
            {"path": "/a", "pages": {"kind": "offset", "parameter": "o"}},
            "pages by offset need `size`, `size_parameter`",
        ),
        ({"path": "/a", "pages": {**PAGES, "size": 5}}, "`size` and `size_parameter` go together"),
        ({"path": "/a", "since": "page", "pages": PAGES}, "the parameter page is said twice"),
        ({"path": "/a", "since": "x", "parameters": {"x": "1"}}, "the parameter x is said twice"),
    ],
)
def test_a_wrong_declaration_gets_a_sentence(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ServiceRequest.model_validate(request_)


@pytest.mark.parametrize(
    ("sector", "said"),
    [
        ({"mode": "snapshot", "request": {"path": "/a", "since": "s"}}, "a service with `since` has mode changes"),
        ({"mode": "changes", "request": {"path": "/a"}}, "a service with `since` has mode changes"),
        (
            {"mode": "cursor", "cursor": "at", "request": {"path": "/a", "since": "s"}},
            "a service with `since` has mode",
        ),
        (
            {"mode": "snapshot", "request": {"path": "/a"}, "file": {"format": "csv", "name": "a.csv"}},
            "out of files (`file`) or from a service (`request`), not both",
        ),
    ],
)
def test_a_mode_goes_with_what_the_service_can_tell(sector: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sector.model_validate({"source": "lgsp", "table": "gia", "schedule": "0 2 * * *", **sector})
    assert said in str(caught.value)


def test_what_is_written_can_be_read_again() -> None:
    given = {"path": "/v1/gia", "records": "data.items", "since": "sau", "pages": PAGES, "columns": {"maCoSo": "a"}}
    request = ServiceRequest.model_validate(given)
    assert ServiceRequest.model_validate(request.model_dump(mode="json")) == request
