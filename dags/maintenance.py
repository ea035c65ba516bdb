"""Retention → maintenance, every night."""

import os

from pipelines.ingestion.airflow import build_dag
from pipelines.ingestion.plan import MAINTENANCE
from pipelines.ingestion.plan_file import read
from pipelines.runtime.settings import Settings

(maintenance,) = (build_dag(plan, os.environ) for plan in read(Settings.load().home) if plan.id == MAINTENANCE)
