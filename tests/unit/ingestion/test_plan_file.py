"""The compiled plan: what is committed is what the contracts say, and reads back as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from catalogue import city

from pipelines.contracts import artifacts
from pipelines.ingestion import plan_file
from pipelines.ingestion.plan import all_plans
from pipelines.ingestion.plan import pools as pools_of
from pipelines.runtime.airflow_plan import PLAN_FILE, pools
from pipelines.runtime.errors import LakeError

HOME = Path(__file__).resolve().parents[3]


def test_the_committed_plan_is_that_of_the_contracts() -> None:
    drift = artifacts.compare(HOME, plan_file.render(city()), plan_file.FOLDERS)
    assert not drift, f"run `lake contracts build`: {drift}"


def test_the_plan_reads_back_as_it_was_written() -> None:
    assert plan_file.read(HOME) == all_plans(city())
    assert pools(HOME) == pools_of(city())


def test_a_password_has_no_place_in_a_plan() -> None:
    text = (HOME / PLAN_FILE).read_text(encoding="utf-8")
    assert "sector_soyt" in text and "://" not in text


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"dags": [{"id": "x"}], "pools": [{"name": "x"}]}'])
def test_another_file_is_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / PLAN_FILE
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    for read in (plan_file.read, pools):
        with pytest.raises(LakeError, match=r"is no plan of this version.* Run `lake contracts build`"):
            read(tmp_path)


def test_a_field_of_another_version_is_refused(tmp_path: Path) -> None:
    data = json.loads((HOME / PLAN_FILE).read_text(encoding="utf-8"))
    data["dags"][0]["tasks"][0]["colour"] = "red"
    path = tmp_path / PLAN_FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(LakeError, match="colour"):
        plan_file.read(tmp_path)
