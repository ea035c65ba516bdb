"""Sources and their tokens: random, kept as a hash, bound, and gone at once when revoked."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.gateway.sources import (
    Source,
    Sources,
    Unauthorised,
    create_token,
    revoke,
    set_datastream,
    sources_path,
)
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

WANTED = Source("gw-1", "H57.NNMT", ("river_stage",))


def test_a_token_is_random_and_only_its_hash_is_kept(settings: Settings, registry: Registry) -> None:
    one, two = create_token(settings, registry, WANTED), create_token(settings, registry, WANTED)
    assert one != two
    path = sources_path(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert one.rpartition("_")[2] not in text
    assert len(json.loads(text)["sources"][0]["tokens"]) == 2
    sources = Sources(settings)
    assert sources.authenticate(one).name == sources.authenticate(two).name == "gw-1"
    assert "digest" not in repr(sources.named("gw-1"))


def test_a_token_expires_and_is_revoked_without_a_restart(settings: Settings, registry: Registry) -> None:
    token = create_token(settings, registry, WANTED, timedelta(days=1))
    now = datetime.now(UTC)
    sources = Sources(settings, lambda: now)
    assert sources.authenticate(token).may_send("river_stage")
    late = Sources(settings, lambda: now + timedelta(days=2))
    with pytest.raises(Unauthorised):
        late.authenticate(token)
    revoke(settings, "gw-1")
    with pytest.raises(Unauthorised):
        sources.authenticate(token)
    assert revoke(settings, "gw-1") == ()


@given(st.text() | st.from_regex(r"lake_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_other_text_is_a_token(settings_once: Settings, text: str) -> None:
    with pytest.raises(Unauthorised):
        Sources(settings_once).authenticate(text)


@pytest.fixture(scope="module")
def settings_once(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Settings:
    state = tmp_path_factory.mktemp("sources")
    made = Settings.load({"LAKE_STATE": str(state), "LAKE_NAMESPACE": "unit"})
    create_token(made, registry, WANTED)
    return made


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Source("Gw 1", "H57.NNMT", ("river_stage",)), "no name of a source"),
        (Source("gw-1", "H57.XX", ("river_stage",)), "'H57.XX' is no agency"),
        (Source("gw-1", "H57.NNMT", ()), "bound to no dataset"),
        (Source("gw-1", "H57.NNMT", ("river",)), "No stream is called river. Streams: ai_event"),
        (
            Source("gw-1", "H57.NNMT", ("river_stage", "alert_cap", "flood_forecast_model")),
            "The platform alone writes alert_cap, flood_forecast_model. A source may be bound to: ai_event",
        ),
        (Source("gw-1", "H57.XD", ("river_stage",)), "H57.XD does not own river_stage (H57.NNMT). Give --delegated"),
        (Source("gw-1", "H57.NNMT", ("river_stage",), origin="guessed"), "Allowed: observed, replay, synthetic"),
        (Source("gw-1", "H57.NNMT", ("river_stage",), rate_per_s=0), "more than 0"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_what_is_allowed(
    settings: Settings, registry: Registry, wanted: Source, said: str
) -> None:
    with pytest.raises(LakeError) as caught:
        create_token(settings, registry, wanted)
    assert said in str(caught.value)
    assert Sources(settings).all() == ()


def test_exercises_stay_out_of_the_city(settings: Settings, registry: Registry) -> None:
    drill = Source("drill", "H57.NNMT", ("river_stage",), origin="replay")
    create_token(settings, registry, drill)
    with pytest.raises(LakeError, match="observed data of the city"):
        create_token(settings.with_namespace("city"), registry, drill)


def test_another_agency_may_send_when_it_was_agreed(settings: Settings, registry: Registry) -> None:
    create_token(settings, registry, Source("ioc", "H57.KHCN", ("river_stage",), is_delegated=True))
    assert Sources(settings).named("ioc").is_delegated


def test_a_datastream_is_registered_for_a_dataset_of_its_source(settings: Settings, registry: Registry) -> None:
    create_token(settings, registry, WANTED)
    set_datastream(settings, registry, "gw-1", "12", {"dataset": "river_stage", "station_id": "71520"})
    assert Sources(settings).named("gw-1").datastreams["12"]["station_id"] == "71520"
    create_token(settings, registry, Source("gw-1", "", ()))
    assert Sources(settings).named("gw-1").datastreams
    with pytest.raises(LakeError, match="It is bound to: river_stage"):
        set_datastream(settings, registry, "gw-1", "13", {"dataset": "rain_gauge"})
    with pytest.raises(LakeError, match="has no field station"):
        set_datastream(settings, registry, "gw-1", "13", {"dataset": "river_stage", "station": "1"})
    with pytest.raises(LakeError, match="There is no source 'x'"):
        set_datastream(settings, registry, "x", "13", {"dataset": "river_stage"})


def test_a_broken_file_is_named(settings: Settings, registry: Registry) -> None:
    create_token(settings, registry, WANTED)
    sources_path(settings).write_text('{"sources": [{}]}')
    with pytest.raises(LakeError, match=r"sources\.json cannot be read"):
        Sources(settings).all()
