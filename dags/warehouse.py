"""Manifest → silver verdict → dbt → gold verdict → publish, when landed tables have news or by the clock."""

import os

from pipelines.ingestion.airflow import build_dag
from pipelines.ingestion.plan import WAREHOUSE
from pipelines.ingestion.plan_file import read
from pipelines.runtime.settings import Settings

(warehouse,) = (build_dag(plan, os.environ) for plan in read(Settings.load().home) if plan.id == WAREHOUSE)
