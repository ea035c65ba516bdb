"""All ingestions and one warehouse run in the running Airflow, as the demo needs them."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.ingestion.plan import MAINTENANCE, WAREHOUSE, DagPlan
from pipelines.runtime.airflow import AirflowClient, DagRun, Progress, silent


def run_everything(
    client: AirflowClient,
    plans: Iterable[DagPlan],
    *,
    namespace: str,
    run_id: str,
    publish_by: str,
    timeout_s: float,
    progress: Progress = silent,
) -> tuple[DagRun, ...]:
    """Run every ingestion DAG, then exactly one warehouse run that sees all of them; return all runs.

    The ingestions are told to raise no asset event, so none of them starts a warehouse run of its own. A failed
    ingestion does not stop the warehouse: it works with the last good version, and marks the marts stale. Repeating
    the call with the same names waits for the runs that exist.

    Raises:
        AirflowError: as :meth:`pipelines.runtime.airflow.AirflowClient.wait`.
    """
    plans = tuple(plan for plan in plans if plan.id != MAINTENANCE)
    name = f"{namespace}.{run_id}"
    conf = {"run_id": run_id, "namespace": namespace, "publish_by": publish_by, "announce": False}
    client.wait_for_dags((plan.id for plan in plans), timeout_s=timeout_s)
    ingestions = [plan.id for plan in plans if plan.id != WAREHOUSE]
    for dag_id in ingestions:
        client.trigger(dag_id, name, conf)
    runs = [client.wait(dag_id, name, timeout_s=timeout_s, progress=progress) for dag_id in ingestions]
    client.trigger(WAREHOUSE, name, conf)
    return (*runs, client.wait(WAREHOUSE, name, timeout_s=timeout_s, progress=progress))
