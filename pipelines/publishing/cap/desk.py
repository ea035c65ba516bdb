"""Drafting, releasing and withdrawing messages: what is decided, and in which order it becomes public.

A reading that was not observed makes an exercise, whoever asks: nothing that this module does turns a replay into an
actual alert. An observed one makes a draft, and only a person's release makes an actual message of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.contracts.registry import Registry
from pipelines.publishing.cap import register
from pipelines.publishing.cap.compose import Desk, compose, compose_withdrawal
from pipelines.publishing.cap.message import MsgType, Reference, Status
from pipelines.publishing.cap.readings import Alarms, read_alarms
from pipelines.publishing.cap.register import Entry
from pipelines.publishing.cap.situations import Situation, situations
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings


@dataclass(frozen=True)
class _Chain:
    """The situations of one flood at one station, in the order of time."""

    members: tuple[Situation, ...]

    def before(self, situation: Situation) -> Situation | None:
        """The situation before this one."""
        position = self.members.index(situation)
        return self.members[position - 1] if position else None

    def highest_until(self, situation: Situation) -> int:
        """The highest level that the chain has had so far."""
        return max(member.level for member in self.members[: self.members.index(situation) + 1])


def _chains(desk: Desk, alarms: Alarms) -> Mapping[str, _Chain]:
    found: dict[str, list[Situation]] = {}
    for situation in situations(alarms.transitions, desk.validity, alarms.stage_at, alarms.clock):
        found.setdefault(situation.chain, []).append(situation)
    return {chain: _Chain(tuple(members)) for chain, members in found.items()}


def plan_drafts(desk: Desk, alarms: Alarms, known: Iterable[str]) -> tuple[Entry, ...]:
    """The messages that are due and not in the register yet: exercises, and drafts of observed floods.

    Raises:
        LakeError: a message cannot be made; the text says which wording or area is missing.
    """
    done = set(known)
    due: list[Entry] = []
    for name, chain in _chains(desk, alarms).items():
        for situation in chain.members:
            status: Status = "Exercise" if situation.is_exercise else "Draft"
            if desk.identifier(situation, status) in done:
                continue
            before = chain.before(situation)
            references: tuple[Reference, ...] = ()
            if before is not None:
                # A chain that turns into an exercise on the way refers to what was said before under its own status.
                was: Status = "Exercise" if before.is_exercise else "Draft"
                references = (Reference(desk.sender, desk.identifier(before, was), before.sent),)
            message = compose(
                desk,
                situation,
                status=status,
                msg_type="Cancel" if not situation.level else "Update" if references else "Alert",
                highest_level=chain.highest_until(situation),
                references=references,
            )
            due.append(
                Entry.of(
                    message,
                    chain=name,
                    station_id=situation.station_id,
                    level=situation.level,
                    origin=situation.origin,
                )
            )
    return tuple(sorted(due, key=lambda entry: (entry.issued_at, entry.cap_identifier)))


def plan_release(
    desk: Desk, alarms: Alarms, known: Mapping[str, Entry], identifier: str, *, by: str, reason: str, now: datetime
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
            f"{identifier} is out of date: {newest.cap_identifier} says level {newest.alarm_level} since then.",
            f"Release that one: lake cap release {newest.cap_identifier} --by … --reason ….",
        )
    if now > draft.expires_at:
        raise LakeError(
            f"{identifier} expired at {draft.expires_at:%Y-%m-%d %H:%M} UTC.", "Draft anew: lake cap draft."
        )
    chain = _chains(desk, alarms).get(draft.chain)
    situation = next((s for s in chain.members if desk.identifier(s, "Draft") == identifier), None) if chain else None
    if chain is None or situation is None or situation.is_exercise:
        raise LakeError(f"The alarms no longer say what {identifier} says.", "See them: lake sql on live.flood_alert.")
    references = _standing(known, draft.chain)
    if not situation.level and not references:
        raise LakeError(f"{identifier} ends a flood of which nothing was made public.", "Nothing needs to be released.")
    msg_type: MsgType = "Cancel" if not situation.level else "Update" if references else "Alert"
    message = compose(
        desk,
        situation,
        status="Actual",
        msg_type=msg_type,
        highest_level=chain.highest_until(situation),
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
    message = compose_withdrawal(
        desk,
        entry.reference,
        station_id=entry.station_id,
        level=max(e.alarm_level for e in known.values() if e.chain == entry.chain),
        status="Actual" if entry.cap_status == "Actual" else "Exercise",
        sent=now.replace(microsecond=0),
        reason=reason,
    )
    return Entry.of(
        message,
        chain=entry.chain,
        station_id=entry.station_id,
        level=0,
        origin=entry.origin,
        source=identifier,
        by=by,
        reason=reason,
    )


def _standing(known: Mapping[str, Entry], chain: str) -> tuple[Reference, ...]:
    """The newest actual message of a chain, unless it is a cancellation or was withdrawn."""
    own = [e for e in known.values() if e.chain == chain and e.cap_status == "Actual"]
    return (own[-1].reference,) if own and own[-1].cap_msg_type != "Cancel" else ()


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
    """Write what is due into the register; returns the new messages."""
    desk = Desk.open(settings, registry)
    with register.locked(settings):
        due = plan_drafts(desk, read_alarms(settings), register.entries(settings))
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
        entry = plan_release(desk, read_alarms(settings), known, identifier, by=by, reason=reason, now=now)
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
