"""The gateway against its own description: schemathesis sends what the schema allows and what it forbids.

A dataset of each kind stands for all: native alone, with every other format, and personal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import schemathesis
from catalogue import city
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from pipelines.contracts.targets.openapi import gateway_document
from pipelines.gateway.core import Core
from pipelines.gateway.http import application
from pipelines.gateway.metrics import Metrics
from pipelines.gateway.sources import Source, Sources, create_token
from pipelines.runtime.settings import Settings

from .conftest import no_kafka

DATASETS = ("camera_health", "river_stage", "violation_event")
EXAMPLES = 30


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenApiSchema]:
    """The interface of a running gateway that has only these datasets."""
    few = replace(city(), datasets=tuple(d for d in city().datasets if d.id in DATASETS))
    state = tmp_path_factory.mktemp("fuzz")
    home = Path(__file__).resolve().parents[3]
    settings = Settings.load({"LAKE_HOME": str(home), "LAKE_STATE": str(state), "LAKE_NAMESPACE": "fuzz"})
    wanted = Source("fuzz", "H57.CA", DATASETS, rate_per_s=1_000_000, is_delegated=True)
    token = create_token(settings, city(), wanted)
    with Core(settings, few, bootstrap=no_kafka) as core:
        document = json.dumps(gateway_document(few)).encode()
        app = application(core, Sources(settings), Metrics(core), lambda: document)
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        schema.config.update(headers={"Authorization": f"Bearer {token}"})
        yield schema


SENT = [(f"/v1/ingest/{name}", mode) for name in DATASETS for mode in GenerationMode]
ASKED = [(path, GenerationMode.POSITIVE) for path in ("/health", "/ready", "/metrics", "/openapi.json")]


@pytest.mark.parametrize(("path", "mode"), [*SENT, *ASKED])
@hypothesis_settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_answer_is_one_that_the_description_promises(
    fuzzed: OpenApiSchema, path: str, mode: GenerationMode, data: st.DataObject
) -> None:
    """No error of the server, no undescribed status, header or body, no way round the token.

    What the schema forbids may be taken: the gateway takes more than it asks for (a number as text, a value out of
    range). What it allows may be refused record by record: a table or an entity can say anything.
    """
    operation = fuzzed[path]["POST" if path.startswith("/v1") else "GET"]
    case = data.draw(operation.as_strategy(generation_mode=mode))
    case.call_and_validate(excluded_checks=[negative_data_rejection, positive_data_acceptance])
