"""Mixes faults into a replay, seeded, and knows what must become of every record.

Each regular reading suffers at most one of: a duplicate, a correction, a delay, a clock that was set back. Malformed
records come on top. The generated cases are unambiguous under the platform's law: a correction arrives inside the
watermark delay, a duplicate inside the dedupe horizon, a late record is the first with its key.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pipelines.contracts.model import Comparison, ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.kafka import MAX_PAYLOAD_BYTES
from pipelines.contracts.validators import rule_fields
from pipelines.gateway.envelope import PERSONAL_UNPARSEABLE, TOO_LARGE, is_protected
from pipelines.gateway.normalise import utc_text
from pipelines.gateway.wire import encode_object
from pipelines.replay.deliveries import Delivery, Replay, arrival, in_order, key_of, tell_truth
from pipelines.replay.readings import Reading

REFUSED = "refused:{reason}"
"""How the stream job names what the gateway refused; all reasons have the dead letter's form `reason[:detail]`."""
LARGE_BYTES = 5 * 1024 * 1024
NOT_A_NUMBER = "không đo được"
_NUMBERS = frozenset({"decimal", "double", "integer", "bigint"})
_STEPS = {
    "stage_m": Decimal("0.02"),
    "forecast_stage_m": Decimal("0.01"),
    "rain_mm": Decimal("0.1"),
    "confidence": Decimal("0.02"),
}
_STEP = Decimal("0.5")
_SET_BACK = timedelta(hours=2)


@dataclass(frozen=True)
class FaultPlan:
    """Shares of the regular readings (0 to 1) and the seed that chooses them.

    `malformed` above 0 gives every kind of :data:`KINDS` that the contract allows at least once per dataset, the 5 MB
    payload exactly once.
    `week_old` is a number of records per dataset that are repeated unchanged a week later, beyond the dedupe horizon:
    they count as late, and change nothing in silver.
    `set_back` is a number of readings per dataset that one device sends in a row with its clock set back by hours: they
    arrive in time, count as late, and stand in silver under the time that the device gave. Nothing tells such a reading
    from one that was held up on its way.
    """

    duplicates: float = 0.0
    corrections: float = 0.0
    late: float = 0.0
    malformed: float = 0.0
    week_old: int = 0
    seed: int = 7
    set_back: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that leave no regular reading."""
        shares = (self.duplicates, self.corrections, self.late, self.malformed)
        if any(not 0 <= share <= 1 for share in shares) or sum(shares[:3]) > 0.9:
            raise ValueError("shares lie between 0 and 1; duplicates, corrections and late together are at most 0.9")
        if self.week_old < 0 or self.set_back < 0:
            raise ValueError("week_old and set_back are numbers of records from 0")


NO_FAULTS = FaultPlan()


def build_replay(name: str, readings: Sequence[Reading], registry: Registry, plan: FaultPlan = NO_FAULTS) -> Replay:
    """Turn readings into deliveries in order of arrival, mix in the plan's faults, and tell the truth of it."""
    deliveries: list[Delivery] = []
    for dataset_id in sorted({r.dataset for r in readings}):
        own = [r for r in readings if r.dataset == dataset_id]
        dataset = registry.dataset(dataset_id)
        delivered = _deliver(name, dataset, own, plan)
        deliveries.extend(delivered if dataset.is_keyed else (_without_state(dataset, d) for d in delivered))
    ordered = in_order(deliveries)
    return Replay(name, ordered, tell_truth(name, plan.seed, ordered, registry))


def _without_state(dataset: Dataset, item: Delivery) -> Delivery:
    """What a job without state makes of an accepted delivery: late by its own times, whatever came before it."""
    if item.disposition == "refused" or item.body is None:
        return item
    event_at = datetime.fromisoformat(str(item.body[str(dataset.event_time)]))
    return replace(item, disposition="late" if event_at < item.received_at - _watermark(dataset) else "on_time")


def _deliver(name: str, dataset: Dataset, readings: Sequence[Reading], plan: FaultPlan) -> Iterator[Delivery]:
    chance = random.Random(f"{plan.seed}|{dataset.id}")
    regular = [_regular(name, dataset, reading) for reading in readings]
    wanted = [round(share * len(readings)) for share in (plan.corrections, plan.late)]
    alterable = [
        i for i, r in enumerate(readings) if any(wanted) and not r.published and _measure(dataset, r.body) is not None
    ]
    chosen = chance.sample(alterable, min(sum(wanted), len(alterable)))
    corrected, late = set(chosen[: wanted[0]]), set(chosen[wanted[0] :])
    rest = [i for i in range(len(readings)) if i not in corrected and i not in late]
    repeated = set(chance.sample(rest, min(round(plan.duplicates * len(readings)), len(rest))))
    plain = [i for i in rest if i not in repeated]
    set_back = _set_back(dataset, regular, _of_one_device(dataset, readings, plain, plan.set_back, chance))
    plain = [i for i in plain if i not in set_back]
    for index in chance.sample(plain, min(plan.week_old, len(plain))):
        yield replace(regular[index], received_at=regular[index].received_at + timedelta(days=7), disposition="late")
    for index, (item, reading) in enumerate(zip(regular, readings, strict=True)):
        if index in late:
            yield _late(dataset, item, reading, chance)
            continue
        if index in set_back:
            yield set_back[index]
            continue
        yield item
        if index in repeated:
            yield _duplicate(dataset, item, chance)
        elif index in corrected:
            yield _correction(dataset, item, reading, chance)
    if plan.malformed > 0:
        yield from _malformed(dataset, regular, max(len(KINDS), round(plan.malformed * len(readings))), chance)


def _regular(name: str, dataset: Dataset, reading: Reading) -> Delivery:
    return Delivery(
        dataset.id,
        reading.body,
        f"replay:{name}",
        reading.origin,
        arrival(reading),
        "on_time",
        key=key_of(dataset, reading.body),
        body=reading.body,
    )


def _watermark(dataset: Dataset) -> timedelta:
    assert dataset.stream is not None
    return dataset.stream.watermark


def _late(dataset: Dataset, item: Delivery, reading: Reading, chance: random.Random) -> Delivery:
    delay = _watermark(dataset) + timedelta(milliseconds=chance.randrange(60_000, 3 * 3_600_000))
    return replace(item, received_at=reading.event_at + delay, disposition="late")


def _of_one_device(
    dataset: Dataset, readings: Sequence[Reading], plain: Sequence[int], count: int, chance: random.Random
) -> Sequence[int]:
    """So many readings in a row of one device, or as many as the one with the most has; no published ones."""
    assert dataset.stream is not None
    name = dataset.stream.device or dataset.entity_key[0]
    own: dict[str, list[int]] = {}
    for index in plain if count else ():
        if not readings[index].published:
            own.setdefault(str(readings[index].body[name]), []).append(index)
    most = min(count, max(map(len, own.values()), default=0))
    if most == 0:
        return ()
    of_device = own[chance.choice(sorted(device for device, found in own.items() if len(found) >= most))]
    of_device.sort(key=lambda index: readings[index].event_at)
    first = chance.randrange(len(of_device) - most + 1)
    return of_device[first : first + most]


def _set_back(dataset: Dataset, regular: Sequence[Delivery], chosen: Sequence[int]) -> dict[int, Delivery]:
    """The chosen readings as a clock tells them that runs behind by the watermark delay and two hours, and by so many
    seconds that no time meets one of the device's own: that would be a correction."""
    keys = {item.key for item in regular} if chosen else set()
    back = _watermark(dataset) + _SET_BACK
    while True:
        back += timedelta(seconds=1)
        found = {index: _told_earlier(dataset, regular[index], back) for index in chosen}
        if dataset.event_time not in dataset.key or keys.isdisjoint(item.key for item in found.values()):
            return found


def _told_earlier(dataset: Dataset, item: Delivery, by: timedelta) -> Delivery:
    event_time, body = str(dataset.event_time), item.body or {}
    told = {**body, event_time: utc_text(datetime.fromisoformat(str(body[event_time])) - by)}
    return replace(item, payload=told, body=told, key=key_of(dataset, told), disposition="late")


def _duplicate(dataset: Dataset, item: Delivery, chance: random.Random) -> Delivery:
    assert dataset.stream is not None
    horizon_ms = int(dataset.stream.dedupe / timedelta(milliseconds=1))
    delay = timedelta(milliseconds=chance.randrange(500, min(horizon_ms // 2, 6 * 3_600_000)))
    return replace(item, received_at=item.received_at + delay, disposition="duplicate")


def _correction(dataset: Dataset, item: Delivery, reading: Reading, chance: random.Random) -> Delivery:
    limit_ms = int(_watermark(dataset) / timedelta(milliseconds=1))
    delay = timedelta(milliseconds=chance.randrange(25_000, limit_ms - 5_000))
    body = {**_other_content(dataset, reading.body), "revision": 1}
    return replace(item, payload=body, body=body, received_at=reading.event_at + delay, disposition="corrected")


def _other_content(dataset: Dataset, body: Mapping[str, Any]) -> dict[str, Any]:
    """The same key with one measure changed a little, downwards where there is room and the row's order allows it."""
    measure = _need_measure(dataset, body)
    if measure.type.name == "boolean":
        return {**body, measure.name: not body[measure.name]}
    is_whole = measure.type.name in {"integer", "bigint"}
    step = Decimal(1) if is_whole else _STEPS.get(measure.name, _STEP)
    old = Decimal(str(body[measure.name]))
    ways = (old - step, old + step) if old >= step else (old + step,)
    bodies = [{**body, measure.name: int(new) if is_whole else new} for new in ways]
    return next((changed for changed in bodies if _in_order(dataset, changed)), bodies[0])


def _in_order(dataset: Dataset, body: Mapping[str, Any]) -> bool:
    """Whether the numbers of a reading stand as the contract's comparisons ask: a correction breaks no rule."""
    for rule in dataset.quality:
        if not isinstance(rule, Comparison) or not dataset.field(rule.left).type.is_numeric:
            continue
        left, right = body.get(rule.left), body.get(rule.right)
        if left is not None and right is not None and not rule.holds(Decimal(str(left)), Decimal(str(right))):
            return False
    return True


def _measure(dataset: Dataset, body: Mapping[str, Any]) -> ContractField | None:
    """What a reading says: its first number, else its first truth value; None where it has neither.

    A field of which a quality rule speaks comes last: a correction is another truth, not a broken rule.
    """
    ruled = {name for rule in dataset.quality for name in rule_fields(rule)}
    said = [f for f in dataset.fields if f.name not in dataset.key and body.get(f.name) is not None]
    said.sort(key=lambda f: f.name in ruled)
    numbers = [f for f in said if f.type.name in _NUMBERS]
    return next(iter([*numbers, *(f for f in said if f.type.name == "boolean")]), None)


def _need_measure(dataset: Dataset, body: Mapping[str, Any]) -> ContractField:
    measure = _measure(dataset, body)
    if measure is None:
        raise ValueError(f"{dataset.id} has no measure that a fault could change")
    return measure


Payload = bytes | dict[str, Any]
Maker = Callable[[Dataset, dict[str, Any], int], Payload]


@dataclass(frozen=True)
class Kind:
    """One kind of bad input: how it is made and why an open dataset refuses it (`{key}`, `{time}`, `{measure}` stand
    for field names).

    A protected dataset refuses it before the topic as personal_unparseable, unless it is `typed` (a usable object).
    An accepted kind has no reason and is `quarantined`.
    """

    name: str
    make: Maker
    reason: str | None
    typed: bool = False


def _truncated(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    return encode_object(body)[:-7]


def _wrong_type(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    return {**body, _need_measure(dataset, body).name: NOT_A_NUMBER}


def _without_key(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    return {k: v for k, v in body.items() if k != dataset.entity_key[0]}


def _without_time(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    return {k: v for k, v in body.items() if k != dataset.event_time}


def _unknown_code(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    coded = next(f.name for f in dataset.fields if f.code_list)
    own = {dataset.entity_key[0]: f"{body[dataset.entity_key[0]]}-X{number}"}
    return {**body, **own, coded: f"UNKNOWN-{number}"}


def _clock_2030(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    return {
        **body,
        str(dataset.event_time): f"2030-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
    }


def _large(dataset: Dataset, body: dict[str, Any], number: int) -> Payload:
    assert LARGE_BYTES > MAX_PAYLOAD_BYTES
    head = encode_object(body)[:-1] + b',"padding":"'
    return head + b"x" * (LARGE_BYTES - len(head) - 2) + b'"}'


KINDS: tuple[Kind, ...] = (
    Kind("empty", lambda d, b, n: b"", "empty"),
    Kind("truncated", _truncated, "malformed"),
    Kind("not_utf8", lambda d, b, n: b"\xff\xfe\x00stage", "malformed"),
    Kind("not_an_object", lambda d, b, n: b"[1,2,3]", "not_an_object"),
    Kind("wrong_type", _wrong_type, "type:{measure}"),
    Kind("missing_key", _without_key, "missing_key:{key}"),
    Kind("missing_event_time", _without_time, "missing_event_time:{time}"),
    Kind("unknown_code", _unknown_code, None, typed=True),
    Kind("clock_2030", _clock_2030, "future", typed=True),
    Kind("too_large", _large, REFUSED.format(reason=TOO_LARGE), typed=True),
)
"""Every kind of bad input that a replay can send."""


def _malformed(dataset: Dataset, regular: Sequence[Delivery], count: int, chance: random.Random) -> Iterator[Delivery]:
    # One broken clock, on one entity: all others must stay on time.
    entity = (regular[0].body or {})[dataset.entity_key[0]]
    of_entity = [d for d in regular if (d.body or {})[dataset.entity_key[0]] == entity]
    measured = [d for d in regular if _measure(dataset, d.body or {}) is not None]
    possible = [k for k in KINDS if _is_possible(k, dataset, bool(measured))]
    repeatable = [k for k in possible if k.name != "too_large"]
    kinds = [*possible, *(repeatable[i % len(repeatable)] for i in range(max(0, count - len(possible))))]
    for number, kind in enumerate(kinds, start=1):
        base = chance.choice({"clock_2030": of_entity, "wrong_type": measured}.get(kind.name, regular))
        payload = kind.make(dataset, dict(base.body or {}), number)
        reason = _reason(kind, dataset, base)
        accepted = reason is None and isinstance(payload, dict)
        yield replace(
            base,
            payload=payload,
            received_at=base.received_at + timedelta(seconds=1),
            disposition="on_time" if accepted else "refused",
            reason=reason,
            quarantined=accepted,
            key=key_of(dataset, payload) if accepted and isinstance(payload, dict) else None,
            body=payload if accepted and isinstance(payload, dict) else None,
        )


def _is_possible(kind: Kind, dataset: Dataset, is_measured: bool) -> bool:
    """Whether a dataset can be sent this kind at all: some have no code list, and some say nothing but texts."""
    if kind.name == "unknown_code":
        return any(f.code_list for f in dataset.fields)
    return kind.name != "wrong_type" or is_measured


def _reason(kind: Kind, dataset: Dataset, base: Delivery) -> str | None:
    if kind.reason is None:
        return None
    if is_protected(dataset) and not kind.typed:
        return REFUSED.format(reason=PERSONAL_UNPARSEABLE)
    measure = _measure(dataset, base.body or {})
    name = measure.name if measure else ""
    return kind.reason.format(key=dataset.entity_key[0], time=dataset.event_time, measure=name)
