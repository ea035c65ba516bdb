"""Tokens and the object store: stable, keyed, private, idempotent."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.gateway.core import Core
from pipelines.gateway.envelope import RawRecord, seal
from pipelines.gateway.housekeeping import Housekeeper
from pipelines.gateway.normalise import Invalid
from pipelines.gateway.objects import ObjectStore, open_store
from pipelines.gateway.objects import rotate as rotate_objects
from pipelines.gateway.sources import Source
from pipelines.gateway.submission import Submission
from pipelines.gateway.tokens import TOKEN, Tokeniser, load_tokeniser
from pipelines.gateway.tokens import rotate as rotate_tokens
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

from .conftest import no_kafka

KEYS = {1: b"k" * 32, 2: b"l" * 32}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = Path(__file__).resolve().parents[3]
    return Settings.load({"LAKE_HOME": str(home), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"})


def test_a_token_is_stable_and_joins_spellings() -> None:
    tokeniser = Tokeniser(KEYS)
    token = tokeniser.token("plate", "75A-123.45")
    assert token == tokeniser.token("plate", "75a 12345") == Tokeniser({1: KEYS[1]}).token("plate", "75A12345")
    assert TOKEN.match(token)


def test_a_token_depends_on_key_kind_and_value() -> None:
    tokeniser = Tokeniser(KEYS)
    tokens = {
        tokeniser.token("plate", "75A-123.45"),
        tokeniser.token("plate", "75A-123.46"),
        tokeniser.token("plate", "75A-123.45", version=2),
        Tokeniser({1: b"m" * 32}).token("plate", "75A-123.45"),
        tokeniser.token("citizen_id", "046099001234"),
    }
    assert len(tokens) == 5


@given(st.from_regex(r"75[A-H]-[0-9]{3}\.[0-9]{2}", fullmatch=True))
def test_a_token_never_shows_the_value(plate: str) -> None:
    token = Tokeniser(KEYS).token("plate", plate)
    assert TOKEN.match(token)
    assert plate.replace("-", "").replace(".", "") not in token


def test_the_join_version_stays_when_keys_are_added() -> None:
    assert Tokeniser(KEYS).token("plate", "75A-123.45").startswith("v1:")


def test_bad_keys_and_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="version 1 is missing"):
        Tokeniser({2: b"k" * 32})
    with pytest.raises(ValueError, match="16 bytes"):
        Tokeniser({1: b"short"})
    with pytest.raises(Invalid):
        Tokeniser(KEYS).token("plate", "không rõ")
    assert "kkkk" not in repr(Tokeniser(KEYS))


def test_keys_are_made_once_private_and_outside_the_lake(settings: Settings) -> None:
    first, again = load_tokeniser(settings), load_tokeniser(settings)
    assert first.token("phone", "0912345678") == again.token("phone", "+84912345678")
    store = open_store(settings)
    assert store.keys == open_store(settings).keys
    files = list(settings.secrets_dir.iterdir())
    assert len(files) == 2
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    assert not settings.secrets_dir.is_relative_to(settings.lake_root)


def test_refused_bytes_are_stored_once_and_read_back(settings: Settings) -> None:
    store = open_store(settings)
    data = b"x" * 1000
    open_ref, secret_ref = (store.put("d", data, protected=p) for p in (False, True))
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()}
    assert store.put("d", data, protected=False) == open_ref
    assert store.put("d", data, protected=True) == secret_ref
    assert {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()} == before
    assert store.get(open_ref.ref) == store.get(secret_ref.ref) == data
    assert open_ref.size_bytes == secret_ref.size_bytes == 1000


def test_protected_bytes_are_encrypted_and_their_name_tells_nothing(settings: Settings) -> None:
    store = open_store(settings)
    stored = store.put("violation_event", b'{"plate":"75A-123.45"}', protected=True)
    path = store.root / stored.ref
    assert b"75A" not in path.read_bytes()
    other = ObjectStore(store.root, (Fernet.generate_key(),))
    assert other.put("violation_event", b'{"plate":"75A-123.45"}', protected=True).ref != stored.ref
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_read_outside_the_store(settings: Settings) -> None:
    store = open_store(settings)
    store.put("d", b"x", protected=False)
    for ref in ("../../secrets/token-key-v1", "/etc/passwd", "d", "d/none"):
        with pytest.raises(LakeError, match="no refused object"):
            store.get(ref)


def test_an_older_key_still_reads_and_names_after_a_rotation(settings: Settings) -> None:
    old = open_store(settings)
    stored = old.put("d", b"secret", protected=True)
    (settings.secrets_dir / "objects-key-v2").write_text("b" * 43)
    new = open_store(settings)
    assert len(new.keys) == 2
    assert new.get(stored.ref) == b"secret"
    assert new.put("d", b"secret", protected=True) == stored
    later = new.put("d", b"later", protected=True)
    with pytest.raises(LakeError, match="key that is not here"):
        old.get(later.ref)


def test_a_rotation_makes_new_tokens_where_nothing_is_joined_and_keeps_the_old_for_lookup(
    settings: Settings, registry: Registry
) -> None:
    before = load_tokeniser(settings)
    assert (rotate_tokens(settings), rotate_objects(settings)) == (2, 2)
    after = load_tokeniser(settings)
    assert after.newest == 2
    assert after.token("plate", "75A-123.45") == before.token("plate", "75A-123.45")
    assert after.tokens("plate", "75a 12345") == (
        after.token("plate", "75A12345", 2),
        before.token("plate", "75A12345"),
    )

    event = registry.dataset("violation_event")
    plain = {"event_id": "V1", "observed_at": "2025-10-27T13:00:00Z", "plate": "75A-123.45"}
    fields = tuple(
        f.model_copy(update={"tokenise": f.tokenise.model_copy(update={"joins": False})}) if f.tokenise else f
        for f in event.fields
    )
    for dataset, version in ((event, "v1:"), (event.model_copy(update={"fields": fields}), "v2:")):
        record = seal(
            dataset,
            plain,
            source="s",
            origin="observed",
            received_at=datetime(2025, 10, 27, tzinfo=UTC),
            tokeniser=after,
        )
        assert isinstance(record, RawRecord)
        assert json.loads(record.value)["plate_token"].startswith(version)


def test_a_running_gateway_takes_a_new_key_up(settings: Settings, registry: Registry) -> None:
    """By the city's own contract a plate joins and keeps the first key; by one that says otherwise it follows."""
    source = Source("cam-1", "H57.CA", ("violation_event",))
    plain = {"event_id": "V1", "observed_at": "2025-10-27T13:00:00Z", "plate": "75A-123.45"}

    def token(core: Core, number: int) -> str:
        body = json.dumps({**plain, "event_id": f"V{number}"}).encode()
        receipt = core.submit(Submission("violation_event", body, "application/json", source, datetime.now(UTC)))
        assert receipt.result(timeout=20).refused == ()
        *_, newest = core.spool.oldest("violation_event", 100)
        return str(json.loads(newest.value)["plate_token"])

    event = registry.dataset("violation_event")
    fields = tuple(
        f.model_copy(update={"tokenise": f.tokenise.model_copy(update={"joins": False})}) if f.tokenise else f
        for f in event.fields
    )
    rotating = replace(
        registry,
        datasets=tuple(
            d.model_copy(update={"fields": fields}) if d.id == event.id else d for d in registry.datasets
        ),
    )  # fmt: skip
    with Core(settings, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600) as keeper:
        first = token(core, 1)
        rotate_tokens(settings)
        rotate_objects(settings)
        core.use(rotating)
        assert token(core, 2) == first
        keeper.look()
        assert token(core, 3).startswith("v2:")
        core.use(registry)
        assert token(core, 4) == first
        assert len(core.sealing.gateway.store.keys) == 2


def test_objects_of_an_older_key_can_still_be_read(settings: Settings) -> None:
    ref = open_store(settings).put("violation_event", b"plate", protected=True).ref
    rotate_objects(settings)
    store = open_store(settings)
    assert store.get(ref) == b"plate"
    assert store.put("violation_event", b"plate", protected=True).ref == ref
