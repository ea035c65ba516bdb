"""Manifest → silver verdict → dbt → gold verdict → publish, when landed tables have news or by the clock."""

import os

from pipelines.contracts.registry import load_registry
from pipelines.ingestion.airflow import build_dag
from pipelines.ingestion.plan import warehouse_plan
from pipelines.runtime.settings import Settings

warehouse = build_dag(warehouse_plan(load_registry(Settings.load().home / "schemas")), os.environ)
