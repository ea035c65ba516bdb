"""Who may send what: sources of an agency, bound to datasets, each with tokens of which only a hash is kept.

They stand in one file of mode 0600 below the state folder (`gateway/<namespace>/sources.json`). Commands replace it
whole under a lock; a running gateway looks at the file's stamp on every request, so a revoked token ends at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipelines.contracts.registry import Registry
from pipelines.contracts.system import ORIGINS
from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

DEFAULT_RATE_PER_S = 5_000.0
DEFAULT_LIFE = timedelta(days=365)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}\Z")
_TOKEN = re.compile(r"lake_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Token:
    """One key of a source: `digest` is the SHA-256 of its 256 random bits, times are ISO 8601 UTC."""

    token_id: str
    digest: str = field(repr=False)
    created_at: str
    expires_at: str
    revoked_at: str | None = None

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= datetime.fromisoformat(self.expires_at) else "active"


@dataclass(frozen=True)
class Source:
    """A sender: a department's system, a field gateway, a device.

    `name` stands in the header of every record that it sends. `origin` is what its records are (observed, replay,
    synthetic). `is_delegated`: it sends for other agencies than its own, which own the datasets. `datastreams` says
    for the ids of its SensorThings server which fields of a contract a Datastream stands for: id → {field: value},
    with `dataset` among them. `is_ended`: it may send by no way, until it is given a token again; without
    a token it may still send by a broker or an inbox.
    """

    name: str
    agency: str
    datasets: tuple[str, ...]
    rate_per_s: float = DEFAULT_RATE_PER_S
    origin: str = "observed"
    is_delegated: bool = False
    datastreams: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tokens: tuple[Token, ...] = field(default=(), repr=False)
    is_ended: bool = False

    @property
    def burst(self) -> float:
        """Records that may come at once: two seconds of the rate."""
        return 2 * self.rate_per_s

    def may_send(self, dataset: str) -> bool:
        """Whether it is bound to the dataset."""
        return dataset in self.datasets


class Unauthorised(LakeError):
    """No token, or none that is valid; the text does not say which part was wrong."""


class Ended(LakeError):
    """The source was ended: it may send by no way, whether or not that way asks for a token."""


class Sources:
    """The sources of one namespace, read again whenever their file changes."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Nothing is read yet; a file that is not there holds no source."""
        self._path = sources_path(settings)
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._by_name: dict[str, Source] = {}
        self._by_token: dict[str, tuple[Source, Token]] = {}

    def authenticate(self, token: str) -> Source:
        """The source of a token.

        Raises:
            Unauthorised: no such token, or it has expired or was revoked.
        """
        self._refresh()
        match = _TOKEN.match(token)
        found = self._by_token.get(match[1]) if match else None
        # One comparison of two digests whatever was sent: the time taken tells nothing about what is stored.
        given = hashlib.sha256((match[2] if match else token).encode("utf-8", "surrogateescape")).hexdigest()
        equal = hmac.compare_digest(given, found[1].digest if found else _NOBODY)
        if not equal or found is None or found[1].state(self._clock()) != "active":
            raise Unauthorised("The token is missing, unknown, expired or revoked.", "Ask the operator for a new one.")
        return found[0]

    def named(self, name: str) -> Source:
        """The source with this name, for a front that knows its sender by other means.

        Raises:
            Ended: somebody has ended it.
            LakeError: there is none; the text lists those there are.
        """
        self._refresh()
        try:
            source = self._by_name[name]
        except KeyError:
            raise _no_source(name, self._by_name) from None
        if source.is_ended:
            remedy = f"It may send again when it has a new token: lake gateway token create {name}"
            raise Ended(f"The source {name} was ended.", remedy)
        return source

    def all(self) -> tuple[Source, ...]:
        """Every source, by name."""
        self._refresh()
        return tuple(self._by_name[name] for name in sorted(self._by_name))

    def _refresh(self) -> None:
        try:
            info = self._path.stat()
            stamp = (info.st_ino, info.st_mtime_ns, info.st_size)
        except FileNotFoundError:
            stamp = (0, 0, 0)
        if stamp == self._stamp:
            return
        self._by_name = _read(self._path)
        self._by_token = {t.token_id: (s, t) for s in self._by_name.values() for t in s.tokens}
        self._stamp = stamp


def sources_path(settings: Settings) -> Path:
    """`<state>/gateway/<namespace>/sources.json`."""
    return settings.state / "gateway" / settings.namespace / "sources.json"


def create_token(settings: Settings, registry: Registry, wanted: Source, life: timedelta = DEFAULT_LIFE) -> str:
    """Make or change a source and give it one more token, which is returned and never seen again.

    `wanted` without datasets keeps what the source has. Older tokens stay valid, so that a sender can change over.

    Raises:
        LakeError: a name, agency, dataset, rate or life that cannot be; the text says what is allowed.
    """
    now = datetime.now(UTC)
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with _changing(settings) as sources:
        known = sources.get(wanted.name)
        source = replace(known, rate_per_s=wanted.rate_per_s) if known and not wanted.datasets else wanted
        if known:
            source = replace(source, tokens=known.tokens, datastreams=known.datastreams)
        _check(source, registry)
        if settings.namespace == DEFAULT_NAMESPACE and source.origin != "observed":
            what = f"Records of the origin {source.origin!r} do not belong among the observed data of the city."
            raise LakeError(what, "Set LAKE_NAMESPACE to that of an exercise.")
        if life <= timedelta(0):
            raise LakeError("A token lives longer than no time.", "Give --days a positive number.")
        digest = hashlib.sha256(secret.encode()).hexdigest()
        token = Token(token_id, digest, now.isoformat(), (now + life).isoformat())
        sources[source.name] = replace(source, tokens=(*source.tokens, token), is_ended=False)
    return f"lake_{token_id}_{secret}"


def revoke(settings: Settings, name: str, token_id: str | None = None, *, ends: bool = False) -> tuple[str, ...]:
    """Revoke one token of a source, or all of them; returns the ids that ended now.

    With `ends` the source itself: it may not send by a broker or an inbox either.

    Raises:
        LakeError: no such source or token.
    """
    now = datetime.now(UTC)
    ended: list[str] = []
    with _changing(settings) as sources:
        if name not in sources:
            raise _no_source(name, sources)
        tokens = []
        for token in sources[name].tokens:
            if token_id in {None, token.token_id} and token.revoked_at is None:
                ended.append(token.token_id)
                tokens.append(replace(token, revoked_at=now.isoformat()))
            else:
                tokens.append(token)
        if token_id is not None and token_id not in {t.token_id for t in tokens}:
            known = ", ".join(t.token_id for t in tokens) or "none"
            raise LakeError(f"{name} has no token {token_id!r}.", f"Its tokens: {known}.")
        sources[name] = replace(sources[name], tokens=tuple(tokens), is_ended=ends or sources[name].is_ended)
    return tuple(ended)


def set_datastream(
    settings: Settings, registry: Registry, name: str, datastream: str, fields: Mapping[str, str]
) -> None:
    """Say what a Datastream of a source's SensorThings server stands for: `dataset`, fields of its contract, and the
    `unit` of its results where it is not the field's own.

    Raises:
        LakeError: no such source, a dataset to which it is not bound, or an unknown field.
    """
    with _changing(settings) as sources:
        if name not in sources:
            raise _no_source(name, sources)
        source = sources[name]
        dataset = fields.get("dataset", "")
        if not source.may_send(dataset):
            allowed = ", ".join(source.datasets)
            raise LakeError(f"{name} is not bound to the dataset {dataset!r}.", f"It is bound to: {allowed}.")
        unknown = sorted(fields.keys() - registry.dataset(dataset).has - {"dataset", "unit"})
        if unknown:
            known = ", ".join(sorted(registry.dataset(dataset).has))
            raise LakeError(f"{dataset} has no field {', '.join(unknown)}.", f"Its fields: {known}.")
        sources[name] = replace(source, datastreams={**source.datastreams, datastream: dict(fields)})


def _check(source: Source, registry: Registry) -> None:
    if not _NAME.match(source.name):
        allowed = "Use 2 to 63 of a-z, 0-9, point, hyphen and underscore."
        raise LakeError(f"{source.name!r} is no name of a source.", allowed)
    agencies = registry.code_list("agencies").codes
    if source.agency not in agencies:
        raise LakeError(f"{source.agency!r} is no agency.", f"Allowed: {', '.join(agencies)}.")
    if not source.datasets:
        raise LakeError(f"{source.name} is bound to no dataset.", "Name at least one with --dataset.")
    streams = {dataset.id for dataset in registry.streams()}
    sent = ", ".join(sorted(dataset.id for dataset in registry.sent()))
    if unknown := sorted(set(source.datasets) - streams):
        raise LakeError(f"No stream is called {', '.join(unknown)}.", f"Streams: {sent}.")
    if own := [name for name in source.datasets if not registry.dataset(name).is_sent]:
        raise LakeError(f"The platform alone writes {', '.join(own)}.", f"A source may be bound to: {sent}.")
    others = sorted({name for name in source.datasets if registry.dataset(name).owner != source.agency})
    if others and not source.is_delegated:
        owners = ", ".join(f"{name} ({registry.dataset(name).owner})" for name in others)
        what = f"{source.agency} does not own {owners}."
        raise LakeError(what, "Give --delegated when the owner has agreed that it sends in its place.")
    if source.origin not in ORIGINS:
        raise LakeError(f"The origin {source.origin!r} is unknown.", f"Allowed: {', '.join(ORIGINS)}.")
    if not 0 < source.rate_per_s <= 1_000_000:
        raise LakeError("A rate is more than 0 and at most 1,000,000 records a second.", "Change --rate.")


def _no_source(name: str, known: Mapping[str, Source]) -> LakeError:
    return LakeError(f"There is no source {name!r}.", f"Sources: {', '.join(sorted(known)) or 'none yet'}.")


@contextmanager
def _changing(settings: Settings) -> Iterator[dict[str, Source]]:
    """The sources for a change; they are written when the block ends well."""
    path = sources_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(path.with_suffix(".lock"), timeout=30):
        sources = _read(path)
        yield sources
        listed = [asdict(sources[name]) for name in sorted(sources)]
        replace_file(path, json.dumps({"sources": listed}, indent=1), durable=True)


def _read(path: Path) -> dict[str, Source]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = [
            Source(**{**s, "datasets": tuple(s["datasets"]), "tokens": tuple(Token(**t) for t in s["tokens"])})
            for s in values["sources"]
        ]
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LakeError(f"{path} cannot be read: {error}.", "Restore it from a backup, or make new tokens.") from error
    return {source.name: source for source in found}
