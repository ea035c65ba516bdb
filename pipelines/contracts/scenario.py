"""Scenarios: what the city wants to be told of, declared over streams and live aggregates.

The forms are a closed set. What none of them can express is no scenario but a job of its own: there is no expression
language, so that a rule can be read by the agency that owns it, checked before it runs, and switched while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from pipelines.contracts.base import Duration, Exact, Model, Name
from pipelines.contracts.model import Text

ENTITY, WARD, CITY = "entity", "ward", "city"
"""Scopes that are no field: every series of facts by itself, by ward, the whole city at once."""
LONGEST = timedelta(days=7)
"""No period of a rule is longer: clean and aggregate topics keep facts no longer than this."""
MOST_SERIES = 100
"""`at_least` asks for no more series: a group remembers 256 of them."""


def _operand(value: object) -> object:
    """Numbers are read exactly, through text; words and truth values stay."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


Operand = Annotated[bool | Decimal | str, BeforeValidator(_operand), PlainSerializer(_plain)]
"""What a field is compared with: a number, a code, or true and false."""
Positive = Annotated[Duration, Field(gt=timedelta(0), le=LONGEST)]
Period = Annotated[Duration, Field(ge=timedelta(0), le=LONGEST)]


class Scope(Model):
    """For what a scenario runs by itself: ``entity``, ``ward``, ``city``, or a field that every dataset of the trigger
    has. ``only`` limits it to some of these."""

    by: Name = ENTITY
    only: tuple[str, ...] = ()


class Condition(Model):
    """What every form has: whose facts it looks at. ``where``: facts count only where each of these fields has one of
    these values. ``at_least``: so many different series of the scope must meet it."""

    dataset: Name
    where: dict[Name, tuple[Operand, ...]] = Field(default_factory=dict)
    at_least: int = Field(default=1, ge=1, le=MOST_SERIES)


class Threshold(Condition):
    """A value stands in order to a limit (numbers), or is or is not one of some codes. Once met it stays met until the
    value passes ``clear_value`` again."""

    kind: Literal["threshold"]
    field: Name
    operator: Literal["<", "<=", ">", ">=", "==", "!="]
    value: tuple[Operand, ...] = Field(min_length=1)
    clear_value: Exact | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: object) -> object:
        if isinstance(data, dict) and "value" in data and not isinstance(data["value"], list | tuple):
            return {**data, "value": [data["value"]]}
        return data


class Change(Condition):
    """A code or truth value differs from the one before: ``before`` and ``to`` limit from what and to what; met while
    the value stays what it became (without ``to`` only at the change itself)."""

    kind: Literal["change"]
    field: Name
    before: tuple[Operand, ...] = ()
    to: tuple[Operand, ...] = ()


class Delta(Condition):
    """A number has risen or fallen by at least ``amount`` within ``over``, by event time."""

    kind: Literal["delta"]
    field: Name
    direction: Literal["rise", "fall", "either"]
    amount: Exact = Field(gt=Decimal(0))
    over: Positive


class Frozen(Condition):
    """A number has moved by no more than ``tolerance`` for ``period``, by event time, while facts came."""

    kind: Literal["frozen"]
    field: Name
    period: Positive = Field(alias="for")
    tolerance: Exact = Field(default=Decimal(0), ge=Decimal(0))


class Absence(Condition):
    """No fact of a series that was there before has arrived for ``period``, by the arrival clock."""

    kind: Literal["absence"]
    period: Positive = Field(alias="for")


Form = Annotated[Threshold | Change | Delta | Frozen | Absence, Field(discriminator="kind")]
FORMS: tuple[type[Condition], ...] = (Threshold, Change, Delta, Frozen, Absence)


class Trigger(Model):
    """One to five conditions, ``all`` or ``any`` of them, on facts of the last ``within`` (by event time)."""

    of: Literal["all", "any"] = "all"
    within: Positive | None = None
    conditions: tuple[Form, ...] = Field(min_length=1, max_length=5)


class Clear(Model):
    """When a run ends: ``recovery``, when facts have shown for ``after`` (event time) that the trigger no longer holds;
    ``silence``, when nothing more has met it for ``after`` (arrival clock)."""

    on: Literal["recovery", "silence"] = "recovery"
    after: Period = timedelta(0)

    @model_validator(mode="after")
    def _silence_lasts(self) -> Clear:
        if self.on == "silence" and not self.after:
            raise ValueError("silence has to last: write `after: <duration>`")
        return self


class Alert(Model):
    """Tell it: an outcome ``alert_issued``, and ``alert_ended`` with the run."""

    action: Literal["alert"]


class CapDraft(Model):
    """Ask for the draft of a CAP 1.2 message, which a person releases or not; a replay's is an exercise."""

    action: Literal["cap_draft"]
    event: Text
    category: str
    urgency: str
    certainty: str
    cap_severity: str = Field(alias="severity")
    instruction: Text | None = None


class Task(Model):
    """Give an agency something to do, within ``due`` of the run's beginning."""

    action: Literal["task"]
    agency: str
    due: Positive
    title: Text


Action = Annotated[Alert | CapDraft | Task, Field(discriminator="action")]


class Scenario(Model):
    """One scenario. ``enabled`` is how it begins in a namespace that has none yet: from then on operators switch it."""

    id: Name
    title: Text
    description: Text
    kind: str
    owner: str
    clauses: tuple[str, ...] = Field(min_length=1)
    severity: str
    status: Literal["verified", "unverified"]
    unverified: tuple[str, ...] = ()
    enabled: bool
    scope: Scope = Scope()
    trigger: Trigger
    hold: Period = timedelta(0)
    clear: Clear = Clear()
    cool_down: Period = timedelta(0)
    headline: Text
    actions: tuple[Action, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _says_what_is_unverified(self) -> Scenario:
        if (self.status == "unverified") != bool(self.unverified):
            raise ValueError("status unverified needs `unverified: [what is not known, …]`, status verified has none")
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that its conditions look at, each once."""
        return tuple(dict.fromkeys(condition.dataset for condition in self.trigger.conditions))

    def tasks(self) -> Iterator[tuple[int, Task]]:
        """Its tasks with their places among the actions."""
        for index, action in enumerate(self.actions):
            if isinstance(action, Task):
                yield index, action
