"""What the views show and, more important, what they never show."""

import pytest
from catalogue import city

from pipelines.contracts.targets import trino as target

REGISTRY = city()


@pytest.mark.parametrize("dataset", REGISTRY.datasets, ids=lambda d: d.id)
def test_no_personal_field_token_or_free_text_is_granted(dataset):
    granted = target.granted_columns(dataset)
    for field in dataset.fields:
        secret = field.classification in {"personal", "sensitive"} or field.tokenise or field.free_text
        assert (field.name in granted) == (not secret), field.name
    assert not {"raw_partition", "raw_offset", "load_id"} & set(granted)
    assert len(set(granted)) == len(granted)


def test_the_contracts_do_hold_something_to_withhold():
    assert target.withheld_columns(REGISTRY.dataset("feedback_ticket")) == (
        "reporter_token",
        "phone_token",
        "content_text",
    )
    assert target.withheld_columns(REGISTRY.dataset("violation_event")) == ("plate_token", "evidence_uri")


def test_published_view_is_pinned_and_found_again():
    sql = target.published_view("lake", REGISTRY.dataset("river_stage"), 12)
    assert sql == (
        'CREATE OR REPLACE VIEW "lake"."published"."river_stage" COMMENT \'Mực nước sông — River stage\' '
        'SECURITY DEFINER AS SELECT "station_id", "observed_at", "stage_m", "qc_flag", "qc_detail", "origin", '
        '"revision", "received_at" FROM "lake"."silver"."river_stage" FOR VERSION AS OF 12'
    )
    assert target.pinned_version(sql) == 12
    assert target.pinned_version("SELECT 1") is None
    with pytest.raises(ValueError, match="-1 is not a Delta version"):
        target.published_view("lake", REGISTRY.dataset("river_stage"), -1)


def test_live_view_is_labelled_and_streams_only():
    sql = target.live_view("lake", REGISTRY.dataset("flood_alert"))
    assert "'live' AS \"data_label\"" in sql and "VERSION" not in sql
    with pytest.raises(ValueError, match="no live view"):
        target.live_view("lake", REGISTRY.dataset("med_price"))


def test_a_dataset_without_any_granted_field_is_refused():
    dataset = REGISTRY.dataset("river_stage")
    fields = tuple(f.model_copy(update={"classification": "sensitive"}) for f in dataset.fields)
    with pytest.raises(ValueError, match="nothing of it can be published"):
        target.published_view("lake", dataset.model_copy(update={"fields": fields}), 1)


def test_stewards_never_see_bytes_rows_or_details_of_protected_datasets():
    views = target.steward_views("lake", ("violation_event",))
    assert "payload" not in views["dead_letter"]
    assert "row_json" not in views["quarantine"]
    for table in ("dead_letter", "quarantine"):
        assert "CASE WHEN dataset IN ('violation_event') THEN NULL ELSE detail END" in views[table]
        assert "AS SELECT DISTINCT dataset," in views[table], "a record that was read twice is refused once"
    assert "CASE WHEN dataset IN ('violation_event') THEN NULL ELSE error END AS error" in views["load_run"]
