"""One DAG per agency, one task per sector table, compiled from the contracts in schemas/datasets."""

import os

from pipelines.contracts.registry import load_registry
from pipelines.ingestion.airflow import build_dag
from pipelines.ingestion.plan import ingestion_plans
from pipelines.runtime.settings import Settings

# Airflow finds DAGs among the names of this module.
for plan in ingestion_plans(load_registry(Settings.load().home / "schemas")):
    globals()[plan.id] = build_dag(plan, os.environ)
