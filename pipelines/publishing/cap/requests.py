"""What scenarios ask to be said: from their outcomes to chains of requests, one message each. Pure.

A chain is what one action of one scenario has to say of one place: it begins with a request and ends with its
cancellation. A request while another one stands renews it, and so does the clock when a message no longer holds while
the run lasts. Identifiers follow from scenario, place, action and moment, so drafting twice gives the same messages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, zip_longest
from typing import Any

from pipelines.contracts.scenario import WARD

REQUESTED, CANCELLED = "cap_draft_requested", "cap_cancel_requested"
"""The kinds of outcome that the desk answers."""
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Outcome:
    """One row of ``scenario_outcome`` that asks for a message or its end; instants in UTC.

    ``detail`` is what the action declares: event, category, urgency, severity, certainty, instruction.
    """

    outcome_id: str
    run_id: str
    scenario_id: str
    is_request: bool
    at: datetime
    received_at: datetime
    agency_id: str
    ward_code: str | None
    headlines: Mapping[str, str]
    detail: Mapping[str, Any]
    origin: str

    @property
    def scope_key(self) -> str:
        """For what the run ran: the middle of ``scenario|scope|beginning``."""
        return self.run_id.removeprefix(f"{self.scenario_id}|").rpartition("|")[0]

    @property
    def action(self) -> str:
        """Which action of the scenario asks: the end of ``run|kind|number``."""
        return self.outcome_id.rpartition("|")[2]


@dataclass(frozen=True)
class Run:
    """What the row of a run in ``scenario_run_v2`` adds: what its scope is, and why it ended (None: it lasts)."""

    scope_kind: str
    end_reason: str | None


@dataclass(frozen=True)
class Request:
    """What has to be said of a place since a moment. ``sent`` is the arrival clock, whole seconds.

    ``end_reason`` tells an end from what lasts. ``scope_kind`` with ``scope_key`` say where, unless ``ward_code`` does.
    ``is_exercise``: a fact of the chain was not observed.
    """

    scenario_id: str
    scope_kind: str
    scope_key: str
    action: str
    chain_started_at: datetime
    at: datetime
    sent: datetime
    agency_id: str
    ward_code: str | None
    headlines: Mapping[str, str]
    detail: Mapping[str, Any]
    origin: str
    is_exercise: bool
    end_reason: str | None = None
    is_renewal: bool = False

    @property
    def is_end(self) -> bool:
        """Whether it ends its chain."""
        return self.end_reason is not None

    @property
    def name(self) -> str:
        """What tells this request from every other: scenario, place, action, moment, kind."""
        kind, moment = ("E", self.at) if self.is_end else ("R", self.sent) if self.is_renewal else ("Q", self.at)
        return f"{self._subject}-{moment:%Y%m%dT%H%M%SZ}-{kind}{self.action}"

    @property
    def chain(self) -> str:
        """What tells its chain from every other."""
        return f"{self._subject}-{self.chain_started_at:%Y%m%dT%H%M%SZ}-{self.action}"

    @property
    def _subject(self) -> str:
        # An identifier holds no spaces and commas; a key that does is told by what it hashes to.
        is_plain = _PLAIN.fullmatch(self.scope_key)
        place = self.scope_key if is_plain else hashlib.sha256(self.scope_key.encode()).hexdigest()[:12]
        return f"{self.scenario_id}-{place}"


ValidityOf = Callable[[Mapping[str, Any]], timedelta]
"""How long a message with this detail holds."""


def requests(
    outcomes: Iterable[Outcome], runs: Mapping[str, Run], validity: ValidityOf, clock: Mapping[str, datetime]
) -> tuple[Request, ...]:
    """Every request of every chain in the order of time.

    A chain goes no further than its runs are known: the row of a run may land after its outcomes, and says where it is
    and why it ended. ``clock`` says by scenario when the newest fact that it looks at arrived: until then a request
    that lasts is said again.
    """

    def series(outcome: Outcome) -> tuple[str, str, str]:
        return outcome.scenario_id, outcome.scope_key, outcome.action

    ordered = sorted(outcomes, key=lambda o: (*series(o), o.at, o.is_request, o.outcome_id))
    found: list[Request] = []
    for (scenario_id, *_), own in groupby(ordered, key=series):
        changes = list(_changes(list(own), runs))
        for request, following in zip_longest(changes, changes[1:]):
            found.append(request)
            until = following.sent if following else clock.get(scenario_id, request.sent)
            found += _renewals(request, until, validity)
    return tuple(found)


def _changes(outcomes: Sequence[Outcome], runs: Mapping[str, Run]) -> Iterator[Request]:
    standing: str | None = None
    started: datetime | None = None
    is_exercise = False
    for outcome in outcomes:
        if not outcome.is_request and outcome.run_id != standing:
            continue  # the end of a run that a newer one has renewed, or whose beginning nobody saw
        run = runs.get(outcome.run_id)
        if run is None or not (outcome.is_request or run.end_reason):
            return
        if started is None:
            started, is_exercise = outcome.at, False
        is_exercise = is_exercise or outcome.origin != "observed"
        yield Request(
            outcome.scenario_id,
            run.scope_kind,
            outcome.scope_key,
            outcome.action,
            started,
            outcome.at,
            outcome.received_at.replace(microsecond=0),
            outcome.agency_id,
            outcome.ward_code or (outcome.scope_key if run.scope_kind == WARD else None),
            outcome.headlines,
            outcome.detail,
            outcome.origin,
            is_exercise,
            None if outcome.is_request else run.end_reason,
        )
        standing = outcome.run_id if outcome.is_request else None
        started = started if outcome.is_request else None


def _renewals(request: Request, until: datetime, validity: ValidityOf) -> Iterator[Request]:
    if request.is_end:
        return
    period = validity(request.detail)
    due = request.sent + period
    while due < until:
        yield replace(request, sent=due, is_renewal=True)
        due += period
