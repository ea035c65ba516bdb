"""How a service of an agency is asked for a dataset: the path, the place of the records in an answer, and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.contracts.base import Model, Name

_PATH = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$"
Place = Annotated[str, Field(pattern=_PATH)]
"""Keys of nested objects with dots between them: `data.items`."""


class Pages(Model):
    """How an answer leads to the next one.

    ``number`` counts pages from `first`, ``offset`` counts records: both end with an answer without a record, and ask
    for `size` at once by `size_parameter`. ``link`` finds the address of the next page at `next` of the answer,
    ``header`` in its header Link, ``cursor`` a value at `next` that is sent as `parameter`: these end when there is
    none.
    """

    kind: Literal["number", "offset", "link", "header", "cursor"]
    parameter: str | None = None
    first: int = 1
    size: int | None = Field(default=None, ge=1, le=100_000)
    size_parameter: str | None = None
    next: Place | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> Pages:
        needed: Mapping[str, tuple[str, ...]] = {
            "number": ("parameter",),
            "offset": ("parameter", "size", "size_parameter"),
            "link": ("next",),
            "header": (),
            "cursor": ("parameter", "next"),
        }
        if lacking := [name for name in needed[self.kind] if getattr(self, name) is None]:
            raise ValueError(f"pages by {self.kind} need {', '.join(f'`{name}`' for name in lacking)}")
        if (self.size is None) != (self.size_parameter is None):
            raise ValueError("`size` and `size_parameter` go together")
        return self


class ServiceRequest(Model):
    """One question to a service; without ``pages`` one answer holds everything.

    ``records`` is where the list of records stands in an answer, which is the list itself where it is not said. With
    ``since`` the service gives only what changed since the instant (ISO 8601, UTC) in the parameter of that name.
    ``columns`` maps keys of the records to columns where they differ.
    """

    path: str = Field(pattern=r"^/[A-Za-z0-9_./~-]*$")
    parameters: Mapping[str, str] = Field(default_factory=dict)
    records: Place | None = None
    pages: Pages | None = None
    since: str | None = None
    columns: Mapping[str, Name] = Field(default_factory=dict)
    dates: tuple[str, ...] = ()
    most_bytes: int = Field(default=2 * 1024**3, ge=1)

    @model_validator(mode="after")
    def _says_each_once(self) -> ServiceRequest:
        own = [self.since, *((self.pages.parameter, self.pages.size_parameter) if self.pages else ())]
        named = [name for name in own if name is not None]
        if doubled := {name for name in named if named.count(name) > 1 or name in self.parameters}:
            raise ValueError(f"the parameter {', '.join(sorted(doubled))} is said twice")
        return self
