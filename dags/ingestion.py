"""One DAG per agency, one task per source of it, from the plan that the contracts compile to."""

import os

from pipelines.ingestion.airflow import build_dag
from pipelines.ingestion.plan import INGEST
from pipelines.ingestion.plan_file import read
from pipelines.runtime.settings import Settings

# Airflow finds DAGs among the names of this module.
for plan in read(Settings.load().home):
    if plan.id.startswith(INGEST):
        globals()[plan.id] = build_dag(plan, os.environ)
