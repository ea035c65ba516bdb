"""Drafting, releasing and withdrawing messages: what is decided, and in which order it becomes public.

A reading that was not observed makes an exercise, whoever asks: nothing that this module does turns a replay into an
actual alert. An observed one makes a draft, and only a person's release makes an actual message of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from pipelines.contracts.registry import Registry
from pipelines.publishing.cap import register
from pipelines.publishing.cap.compose import Desk, compose, compose_withdrawal, event, river
from pipelines.publishing.cap.message import NAMESPACE, Message, MsgType, Reference, Status
from pipelines.publishing.cap.readings import Alarms, Requests, read_alarms, read_requests
from pipelines.publishing.cap.register import Entry
from pipelines.publishing.cap.requests import Request, requests
from pipelines.publishing.cap.situations import Situation, situations
from pipelines.publishing.cap.wording import compose_request, validity_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

NOTHING_ASKED = Requests()
Said = Situation | Request
_NAMES = {"cap": NAMESPACE}


@dataclass(frozen=True)
class _Chain:
    """What is to be said of one flood at one station, or of one place of a scenario, in the order of time."""

    members: tuple[Said, ...]

    def before(self, member: Said) -> Said | None:
        """What was said before this."""
        position = self.members.index(member)
        return self.members[position - 1] if position else None

    def message(
        self,
        desk: Desk,
        member: Said,
        *,
        status: Status,
        msg_type: MsgType,
        references: tuple[Reference, ...],
        sent: datetime | None = None,
    ) -> Message:
        """The message about a member; the wards of the highest level that its chain has had so far are all told.

        Raises:
            LakeError: a wording or an area is missing.
        """
        if isinstance(member, Request):
            return compose_request(desk, member, status=status, msg_type=msg_type, sent=sent, references=references)
        until = self.members[: self.members.index(member) + 1]
        return compose(
            desk,
            member,
            status=status,
            msg_type=msg_type,
            highest_level=max(each.level for each in until if isinstance(each, Situation)),
            sent=sent,
            references=references,
        )


class Undrafted(LakeError):
    """Some messages could not be made; ``entries`` are those that could."""

    def __init__(self, entries: tuple[Entry, ...], problems: Sequence[str]) -> None:
        """Keep them with what was wrong with the others."""
        super().__init__(" ".join(problems))
        self.entries = entries


def _chains(desk: Desk, alarms: Alarms, asked: Requests) -> Mapping[str, _Chain]:
    rivers = situations(alarms.transitions, desk.validity, alarms.stage_at, alarms.clock)
    scenarios = requests(asked.outcomes, asked.runs, lambda detail: validity_of(desk, detail), asked.clock)
    said: tuple[Said, ...] = (*rivers, *scenarios)
    found: dict[str, list[Said]] = {}
    for each in said:
        found.setdefault(each.chain, []).append(each)
    return {chain: _Chain(tuple(members)) for chain, members in found.items()}


def plan_drafts(desk: Desk, alarms: Alarms, known: Iterable[str], asked: Requests = NOTHING_ASKED) -> tuple[Entry, ...]:
    """The messages that are due and not in the register yet: exercises, and drafts of what was observed.

    Raises:
        Undrafted: a message about what lasts cannot be made; the text says which wording or area is missing. It holds
            the others.
    """
    done = set(known)
    due: list[Entry] = []
    problems: list[str] = []
    for name, chain in _chains(desk, alarms, asked).items():
        try:
            due += _due(desk, name, chain, done)
        except LakeError as error:
            # What is over by now need not be said any more, and nobody could mend it.
            if not chain.members[-1].is_end:
                problems.append(str(error))
    entries = tuple(sorted(due, key=lambda entry: (entry.issued_at, entry.cap_identifier)))
    if problems:
        raise Undrafted(entries, problems)
    return entries


def _due(desk: Desk, name: str, chain: _Chain, done: set[str]) -> Iterator[Entry]:
    for member in chain.members:
        status = _status(member)
        if desk.identifier(member, status) in done:
            continue
        before = chain.before(member)
        # A chain that turns into an exercise on the way refers to what was said before under its own status.
        references = (Reference(desk.sender, desk.identifier(before, _status(before)), before.sent),) if before else ()
        msg_type: MsgType = "Cancel" if member.is_end else "Update" if references else "Alert"
        message = chain.message(desk, member, status=status, msg_type=msg_type, references=references)
        river_of = member if isinstance(member, Situation) else None
        yield Entry.of(
            message,
            chain=name,
            station_id=river_of.station_id if river_of else None,
            level=river_of.level if river_of else None,
            origin=member.origin,
        )


def _status(member: Said) -> Status:
    return "Exercise" if member.is_exercise else "Draft"


def plan_release(
    desk: Desk,
    alarms: Alarms,
    known: Mapping[str, Entry],
    identifier: str,
    *,
    by: str,
    reason: str,
    now: datetime,
    asked: Requests = NOTHING_ASKED,
) -> Entry:
    """The actual message that a person makes of a draft.

    Raises:
        LakeError: there is no such draft; it is an exercise, was released, has expired, or a newer one stands; or the
            namespace is an exercise itself.
    """
    draft = _known(known, identifier)
    by, reason = _signed(by, reason)
    if desk.namespace != DEFAULT_NAMESPACE:
        raise LakeError(
            f"The namespace {desk.namespace} is an exercise: only {DEFAULT_NAMESPACE} makes actual alerts.",
            "Unset LAKE_NAMESPACE if this is meant for the public.",
        )
    if draft.cap_status == "Exercise":
        raise LakeError(
            f"{identifier} is an exercise: its readings are {draft.origin}, and that never becomes an actual alert.",
            "Only drafts of observed floods can be released: lake cap list --status Draft.",
        )
    if draft.cap_status != "Draft":
        raise LakeError(
            f"{identifier} is {draft.cap_status} already.", "Drafts that wait: lake cap list --status Draft."
        )
    released = next((e for e in known.values() if e.cap_status == "Actual" and e.source_identifier == identifier), None)
    if released:
        raise LakeError(f"{identifier} was released by {released.decided_by} as {released.cap_identifier}.", "")
    newest = [e for e in known.values() if e.cap_status == "Draft" and e.chain == draft.chain][-1]
    if newest.cap_identifier != identifier:
        raise LakeError(
            f"{identifier} is out of date: {newest.cap_identifier} says {_gist(newest)} since then.",
            f"Release that one: lake cap release {newest.cap_identifier} --by … --reason ….",
        )
    if now > draft.expires_at:
        raise LakeError(
            f"{identifier} expired at {draft.expires_at:%Y-%m-%d %H:%M} UTC.", "Draft anew: lake cap draft."
        )
    chain = _chains(desk, alarms, asked).get(draft.chain)
    member = next((s for s in chain.members if desk.identifier(s, "Draft") == identifier), None) if chain else None
    if chain is None or member is None or member.is_exercise:
        raise LakeError(
            f"The alarms no longer say what {identifier} says.",
            "See them: lake sql on live.flood_alert and live.scenario_outcome.",
        )
    references = _standing(known, draft.chain)
    if member.is_end and not references:
        raise LakeError(
            f"{identifier} ends something of which nothing was made public.", "Nothing needs to be released."
        )
    message = chain.message(
        desk,
        member,
        status="Actual",
        msg_type="Cancel" if member.is_end else "Update" if references else "Alert",
        sent=now.replace(microsecond=0),
        references=references,
    )
    return Entry.of(
        message,
        chain=draft.chain,
        station_id=draft.station_id,
        level=draft.alarm_level,
        origin=draft.origin,
        source=identifier,
        by=by,
        reason=reason,
    )


def plan_withdrawal(
    desk: Desk, known: Mapping[str, Entry], identifier: str, *, by: str, reason: str, now: datetime
) -> Entry:
    """The message with which a person takes a public one, or an exercise, back.

    Raises:
        LakeError: there is no such message, it is a draft or a cancellation, or was withdrawn already.
    """
    entry = _known(known, identifier)
    by, reason = _signed(by, reason)
    if entry.cap_status == "Draft":
        raise LakeError(
            f"{identifier} is a draft: nobody has seen it.", "Leave it; a draft that is not released expires."
        )
    if entry.cap_msg_type == "Cancel":
        raise LakeError(f"{identifier} is a cancellation itself.", "Release a new message to correct it.")
    gone = next((e for e in known.values() if e.cap_msg_type == "Cancel" and e.source_identifier == identifier), None)
    if gone:
        raise LakeError(f"{identifier} was withdrawn by {gone.decided_by} with {gone.cap_identifier}.", "")
    root = etree.fromstring(entry.xml.encode())
    own = [e for e in known.values() if e.chain == entry.chain]
    if entry.station_id is not None:
        subject = river(desk, entry.station_id)
        areas = desk.wards(entry.station_id, max(e.alarm_level or 0 for e in own))
        parameters = {"station_id": entry.station_id}
    else:
        areas = tuple(desk.all_wards[code] for code in sorted({c for e in own for c in e.ward_codes.split()}))
        vi, en = (node.findtext("cap:event", "", _NAMES) for node in root.iterfind("cap:info", _NAMES))
        subject, parameters = event({"vi": vi, "en": en}, areas), {}
    message = compose_withdrawal(
        desk,
        entry.reference,
        subject=subject,
        areas=areas,
        status="Actual" if entry.cap_status == "Actual" else "Exercise",
        category=root.findtext("cap:info/cap:category", "", _NAMES),
        sent=now.replace(microsecond=0),
        reason=reason,
        parameters=parameters,
    )
    return Entry.of(
        message,
        chain=entry.chain,
        station_id=entry.station_id,
        level=None if entry.station_id is None else 0,
        origin=entry.origin,
        source=identifier,
        by=by,
        reason=reason,
    )


def _standing(known: Mapping[str, Entry], chain: str) -> tuple[Reference, ...]:
    """The newest actual message of a chain, unless it is a cancellation or was withdrawn."""
    own = [e for e in known.values() if e.chain == chain and e.cap_status == "Actual"]
    return (own[-1].reference,) if own and own[-1].cap_msg_type != "Cancel" else ()


def _gist(entry: Entry) -> str:
    return f"“{entry.headline_vi}”" if entry.alarm_level is None else f"level {entry.alarm_level}"


def _known(known: Mapping[str, Entry], identifier: str) -> Entry:
    if identifier not in known:
        raise LakeError(f"There is no message {identifier!r}.", "See them: lake cap list.")
    return known[identifier]


def _signed(by: str, reason: str) -> tuple[str, str]:
    by, reason = by.strip(), reason.strip()
    if not by or not reason:
        raise LakeError("A decision needs a name and a reason.", "Give both: --by NAME --reason TEXT.")
    return by, reason


def draft(settings: Settings, registry: Registry) -> Sequence[Entry]:
    """Write what is due into the register; returns the new messages.

    Raises:
        LakeError: the namespace has no tables.
        Undrafted: a message could not be made; the others are in the register.
    """
    desk = Desk.open(settings, registry)
    with register.locked(settings):
        alarms, asked = read_alarms(settings), read_requests(settings, registry)
        try:
            due = plan_drafts(desk, alarms, register.entries(settings), asked)
        except Undrafted as undrafted:
            register.record(settings, undrafted.entries)
            raise
        register.record(settings, due)
    return due


def release(settings: Settings, registry: Registry, identifier: str, *, by: str, reason: str, now: datetime) -> Entry:
    """Write a person's release into the register; returns the actual message.

    Raises:
        LakeError: as :func:`plan_release`.
    """
    desk = Desk.open(settings, registry)
    with register.locked(settings):
        known = register.entries(settings)
        alarms, asked = read_alarms(settings), read_requests(settings, registry)
        entry = plan_release(desk, alarms, known, identifier, by=by, reason=reason, now=now, asked=asked)
        register.record(settings, [entry])
    return entry


def withdraw(settings: Settings, registry: Registry, identifier: str, *, by: str, reason: str, now: datetime) -> Entry:
    """Write a person's cancellation into the register; returns it.

    Raises:
        LakeError: as :func:`plan_withdrawal`.
    """
    desk = Desk.open(settings, registry)
    with register.locked(settings):
        entry = plan_withdrawal(desk, register.entries(settings), identifier, by=by, reason=reason, now=now)
        register.record(settings, [entry])
    return entry
