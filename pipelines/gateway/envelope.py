"""Seals one payload into the record of its raw topic, or refuses it with a reason. Pure: no clock, files or network.

Open and internal datasets: a usable object is normalised and completed, anything else travels exactly as it came, so
that the stream job can put its bytes into the dead letter. Personal and sensitive datasets: only known, typed fields
travel, a clear personal value is replaced by its token, and whatever cannot be understood is refused before the topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.contracts.model import ContractField, Dataset
from pipelines.contracts.system import MARKER_KEY, ORIGINS, REFUSALS
from pipelines.contracts.targets.kafka import MAX_PAYLOAD_BYTES, raw_topic
from pipelines.gateway.fields import coerce
from pipelines.gateway.normalise import Invalid, text
from pipelines.gateway.tokens import Tokeniser
from pipelines.gateway.wire import NotAnObject, decode_object, encode_decoded, encode_object

_LEAK_LENGTH = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERSONAL = frozenset({"personal", "sensitive"})
RESERVED = f'"{MARKER_KEY}"'.encode()
"""Bytes that no payload may hold: they would pass for the platform's own marker."""

TOO_LARGE, RESERVED_KEY, PERSONAL_UNPARSEABLE, PERSONAL_INVALID, PERSONAL_LEAK, UNKNOWN_DEVICE = REFUSALS
UNUSABLE = "unusable"
"""Why an open payload travels as it came: the stream job puts its bytes into the dead letter, with its own reason."""


@dataclass(frozen=True)
class RawRecord:
    """One Kafka record of a raw topic; `topic` has no namespace, `timestamp_ms` is the receipt clock (UTC).

    `as_came` says that the value is the sender's bytes, untouched; `dropped_fields` counts unknown keys left out.
    `reason` and `detail` say to the sender why the payload was refused or is no use; empty for a good one. `device` is
    the device that it names, where the contract says which field that is. `ref` is where refused bytes lie.
    """

    topic: str
    key: bytes
    value: bytes = field(repr=False)
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...]
    as_came: bool = False
    dropped_fields: int = 0
    reason: str = ""
    detail: str = ""
    device: str | None = None
    ref: str | None = None


@dataclass(frozen=True)
class Refusal:
    """A payload that must not enter its topic; `data` are its bytes for the object store, `detail` repeats no value."""

    reason: str
    detail: str
    data: bytes = field(repr=False)


def is_protected(dataset: Dataset) -> bool:
    """Whether a dataset may hold personal values, by its own class or by one of its fields."""
    return dataset.is_protected or any(f.classification in _PERSONAL or f.tokenise for f in dataset.fields)


def seal(
    dataset: Dataset,
    payload: bytes | Mapping[str, Any],
    *,
    source: str,
    origin: str,
    received_at: datetime,
    tokeniser: Tokeniser,
    original: bytes | None = None,
) -> RawRecord | Refusal:
    """Turn one payload into the record of `raw.<dataset>`, or into a refusal.

    `source` names the sender (device, file, replay), `origin` is observed, replay or synthetic and always wins over
    what the payload says, `received_at` is the receipt clock. `original`: the sender's bytes, where `payload` is what
    a format made of them; they are what is kept when it is no use.

    Raises:
        ValueError: no stream, an unknown origin, an empty source, a receipt time without zone.
        TypeError: a mapping holds what JSON cannot.
    """
    _check(dataset, source, origin)
    data = original
    if data is None:
        data = payload if isinstance(payload, bytes) else encode_object(payload)
    if refusal := _forbidden(data):
        return refusal
    try:
        body = payload if original is not None and not isinstance(payload, bytes) else decode_object(data)
        fields = _typed(dataset, body)
        revision = _revision(body)
    except (NotAnObject, Invalid) as error:
        return _unusable(dataset, data, str(error), source, received_at)

    known = {f.name for f in dataset.fields} | {"origin", "revision"}
    # A newer contract may take these up from the raw topic: their text must be NFC then, too.
    extra = {k: text(v) if isinstance(v, str) else v for k, v in body.items() if k not in known}
    dropped = 0
    if is_protected(dataset):
        try:
            tokens, clear = _tokens(dataset, body, tokeniser)
        except Invalid as error:
            return Refusal(PERSONAL_INVALID, str(error), data)
        texts = {f.name: fields.get(f.name) for f in dataset.fields if f.type.name == "string"}
        if leak := _leak(texts, clear):
            return Refusal(PERSONAL_LEAK, f"{leak} carries a personal value in clear", data)
        fields |= tokens
        sources = {f.tokenise.source for f in dataset.fields if f.tokenise}
        dropped = len(extra.keys() - sources) + sum(f.name in body for f in dataset.fields if f.tokenise)
        extra = {}
    value = {**fields, **extra, "origin": origin, "revision": revision}
    key = "|".join(str(fields[name]) for name in dataset.entity_key)
    try:
        encoded = encode_decoded(value)
        key_bytes = key.encode()
    except UnicodeEncodeError:
        return _unusable(dataset, data, "a text holds half a surrogate pair", source, received_at)
    device = fields.get(dataset.stream.device) if dataset.stream and dataset.stream.device else None
    record = _record(dataset, key_bytes, encoded, source, received_at)
    return replace(record, dropped_fields=dropped, device=None if device is None else str(device))


def unusable(
    dataset: Dataset, data: bytes, problem: str, *, source: str, origin: str, received_at: datetime
) -> RawRecord | Refusal:
    """What becomes of bytes that no format could read: as they came when the dataset is open, else refused.

    Raises:
        ValueError: as :func:`seal`.
    """
    _check(dataset, source, origin)
    return _forbidden(data) or _unusable(dataset, data, problem, source, received_at)


def _check(dataset: Dataset, source: str, origin: str) -> None:
    if origin not in ORIGINS:
        raise ValueError(f"origin {origin!r} is unknown; allowed: {', '.join(ORIGINS)}")
    if not source:
        raise ValueError("the source of a payload needs a name")
    if dataset.stream is None:
        raise ValueError(f"{dataset.id} is a sector table: it is loaded by ingestion, not sent to the gateway")


def _forbidden(data: bytes) -> Refusal | None:
    if len(data) > MAX_PAYLOAD_BYTES:
        return Refusal(TOO_LARGE, f"{len(data)} bytes; at most {MAX_PAYLOAD_BYTES} travel", data)
    if RESERVED in data:
        return Refusal(RESERVED_KEY, f"the key {MARKER_KEY} is the platform's own", data)
    return None


def _unusable(dataset: Dataset, data: bytes, problem: str, source: str, received_at: datetime) -> RawRecord | Refusal:
    if is_protected(dataset):
        return Refusal(PERSONAL_UNPARSEABLE, problem, data)
    record = _record(dataset, source.encode(), data, source, received_at)
    return replace(record, as_came=True, reason=UNUSABLE, detail=problem)


def marker(
    dataset: Dataset,
    reason: str,
    ref: str,
    size_bytes: int,
    *,
    source: str,
    origin: str,
    received_at: datetime,
    detail: str = "",
) -> RawRecord:
    """The record that stands in the raw topic for refused bytes, so that they have an offset and are counted.

    `ref` is the relative path of the bytes in the object store; `origin` goes with them when they are sent again;
    `detail` is for the sender alone.
    """
    value = encode_object({MARKER_KEY: {"reason": reason, "ref": ref, "size_bytes": size_bytes, "origin": origin}})
    record = _record(dataset, source.encode(), value, source, received_at)
    return replace(record, reason=reason, detail=detail, ref=ref)


def _record(dataset: Dataset, key: bytes, value: bytes, source: str, received_at: datetime) -> RawRecord:
    return RawRecord(raw_topic(dataset), key, value, milliseconds(received_at), source_headers(source))


def source_headers(source: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record: one only, since the topic says the dataset and landing pays 0.7 µs a row for each."""
    return (("source", source.encode()),)


def milliseconds(received_at: datetime) -> int:
    """The receipt clock as a Kafka timestamp: milliseconds since 1970, cut."""
    return (received_at - _EPOCH) // timedelta(milliseconds=1)


def _typed(dataset: Dataset, body: Mapping[str, Any]) -> dict[str, Any]:
    """The contract's own fields that the payload has, typed; the key and the event time must be known."""
    typed: dict[str, Any] = {}
    for item in dataset.fields:
        if item.tokenise is None and item.name in body:
            typed[item.name] = coerce(item, body[item.name])
    for name in (*dataset.key, dataset.event_time):
        if name is not None and typed.get(name) in (None, ""):
            raise Invalid(f"{name} is missing")
    return typed


def _revision(body: Mapping[str, Any]) -> int:
    revision = body.get("revision")
    if revision is None:
        return 0
    if isinstance(revision, bool) or not isinstance(revision, int) or not 0 <= revision < 2**31:
        raise Invalid("revision: a whole number from 0 is expected")
    return int(revision)


def _tokens(
    dataset: Dataset, body: Mapping[str, Any], tokeniser: Tokeniser
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """The token fields, and the clear values that no other field may carry."""
    tokens: dict[str, str | None] = {}
    clear: list[str] = []
    for item in dataset.fields:
        if item.tokenise is None:
            continue
        value = body.get(item.tokenise.source)
        tokens[item.name] = _token(item, value, tokeniser)
        if isinstance(value, str) and value:
            clear.append(value)
    return tokens, tuple(clear)


def _token(item: ContractField, value: Any, tokeniser: Tokeniser) -> str | None:
    assert item.tokenise is not None
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Invalid(f"{item.tokenise.source}: a text is expected")
    try:
        version = None if item.tokenise.joins else tokeniser.newest
        return tokeniser.token(item.tokenise.kind, value, version)
    except Invalid as error:
        raise Invalid(f"{item.tokenise.source}: {error}") from None


def _leak(fields: Mapping[str, Any], clear: tuple[str, ...]) -> str | None:
    """The name of a field that holds a clear personal value in any spelling, such as a plate in a file name.

    A very short value counts only where it is the whole text: a name of two letters is a part of many words.
    """
    hidden = [_folded(value) for value in clear]
    for name, value in fields.items():
        if not isinstance(value, str):
            continue
        whole = _folded(value)
        for part in hidden:
            # A telephone number is looked for without its prefix: +84 and 0 stand for each other.
            core = part[-9:] if part.isdigit() else part
            if part == whole or (len(core) >= _LEAK_LENGTH and core in whole):
                return name
    return None


def _folded(value: str) -> str:
    return "".join(c for c in text(value).upper() if c.isalnum())
