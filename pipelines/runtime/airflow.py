"""Airflow over its REST API: start a run, wait for it while its tasks progress, tell of a changed table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from pipelines.runtime.airflow_plan import Pool
from pipelines.runtime.errors import LakeError

_POLL_S = 0.5
_REQUEST_TIMEOUT_S = 30.0
_LOG_LINES = 30
_FINISHED = frozenset({"success", "failed"})
Progress = Callable[[str, str, str], None]
"""Told of every change: DAG, task ("" for the run itself), state."""


class AirflowError(LakeError):
    """Airflow does not answer, refuses, or a run did not end well."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG and, once it ended, the state of each task."""

    dag_id: str
    run_id: str
    state: str
    tasks: Mapping[str, str]

    @property
    def succeeded(self) -> bool:
        """Whether every task that had to run did."""
        return self.state == "success"


def silent(_dag_id: str, _task_id: str, _state: str) -> None:
    """Report nothing."""


class AirflowClient:
    """A session with one Airflow server; use it as a context manager."""

    def __init__(self, url: str) -> None:
        """`url`: where the API server answers, such as `http://127.0.0.1:8080`; nothing is sent yet."""
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=_REQUEST_TIMEOUT_S)
        self._token: str | None = None

    def __enter__(self) -> AirflowClient:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run under `run_id`; a run of this id that exists already is left as it is.

        Raises:
            AirflowError: no such DAG, or Airflow refuses the conf.
        """
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        response = self._send("POST", f"/dags/{_part(dag_id)}/dagRuns", json=body)
        if response.status_code != httpx.codes.CONFLICT:
            self._check(response, f"start {dag_id}")

    def wait(self, dag_id: str, run_id: str, *, timeout_s: float, progress: Progress = silent) -> DagRun:
        """Wait until a run ended, well or not, and return it.

        Raises:
            AirflowError: it did not end within `timeout_s`, or the server went away.
        """
        deadline = time.monotonic() + timeout_s
        seen: dict[str, str] = {}
        while True:
            # First the run, then its tasks: when the run has ended, the tasks that are read are final.
            state = str(self._get(f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}")["state"])
            tasks = self.task_states(dag_id, run_id)
            for task_id, task_state in {**tasks, "": state}.items():
                if seen.get(task_id) != task_state:
                    seen[task_id] = task_state
                    progress(dag_id, task_id, task_state)
            if state in _FINISHED:
                return DagRun(dag_id, run_id, state, tasks)
            if time.monotonic() > deadline:
                where = ", ".join(f"{task} {state}" for task, state in tasks.items() if state != "success")
                raise AirflowError(
                    f"The run {run_id} of {dag_id} did not end within {timeout_s:.0f} s ({where or state}).",
                    f"Look at {self.run_page(dag_id, run_id)}.",
                )
            time.sleep(_POLL_S)

    def wait_for_dags(self, dag_ids: Iterable[str], *, timeout_s: float) -> None:
        """Wait until Airflow has parsed these DAGs, which takes it some seconds after its start.

        Raises:
            AirflowError: one is missing after `timeout_s`; the text says which, and why a DAG file failed.
        """
        deadline = time.monotonic() + timeout_s
        missing = list(dag_ids)
        while missing := [d for d in missing if self._send("GET", f"/dags/{_part(d)}").status_code != httpx.codes.OK]:
            if time.monotonic() > deadline:
                errors = "; ".join(f"{e['filename']}: {e['stack_trace'][-400:]}" for e in self.import_errors())
                raise AirflowError(f"Airflow has no DAG {', '.join(missing)}. {errors}", "Run `lake logs airflow`.")
            time.sleep(_POLL_S)

    def import_errors(self) -> list[dict[str, Any]]:
        """Return what is wrong with DAG files (`filename`, `stack_trace`)."""
        errors: list[dict[str, Any]] = self._get("/importErrors")["import_errors"]
        return errors

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Return the state of each task of a run, "none" before it was considered."""
        found = self._get(f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] or "none" for task in found}

    def failures(self, run: DagRun) -> str:
        """Return, for people, the failed tasks of a run with the end of their logs."""
        parts = []
        for task_id, state in sorted(run.tasks.items()):
            if state == "failed":
                parts.append(f"{run.dag_id}.{task_id} failed:\n{self.log_tail(run.dag_id, run.run_id, task_id)}")
        blocked = [task_id for task_id, state in sorted(run.tasks.items()) if state == "upstream_failed"]
        if blocked:
            parts.append(f"not run for that reason: {', '.join(blocked)}")
        return "\n".join(parts) or f"{run.dag_id} is {run.state}"

    def log_tail(self, dag_id: str, run_id: str, task_id: str, lines: int = _LOG_LINES) -> str:
        """Return the last lines of a task's newest try."""
        base = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}"
        attempt = max(int(self._get(base)["try_number"]), 1)
        content = self._get(f"{base}/logs/{attempt}", params={"full_content": "true"})["content"]
        texts = [_log_line(entry) for entry in content] if isinstance(content, list) else str(content).splitlines()
        return "\n".join([text for text in texts if text][-lines:])

    def post_asset_event(
        self, name: str, extra: Mapping[str, Any] | None = None, *, pause: timedelta | None = None
    ) -> bool:
        """Tell that an asset has news (`city/silver/river_stage`), unless that was told less than `pause` ago.

        Returns whether it is known now: False when no DAG knows the asset, as in a drill.
        """
        found = self._get("/assets", params={"name_pattern": name, "limit": 100})["assets"]
        ids = [asset["id"] for asset in found if asset["name"] == name]
        if not ids:
            return False
        if pause is not None:
            newest = self.asset_events(name, limit=1)
            if newest and datetime.now(UTC) - datetime.fromisoformat(newest[0]["timestamp"]) < pause:
                return True
        body = {"asset_id": ids[0], "extra": dict(extra or {})}
        self._check(self._send("POST", "/assets/events", json=body), f"tell of {name}")
        return True

    def asset_events(self, name: str, limit: int = 100) -> list[dict[str, Any]]:
        """Return what was told of an asset (`timestamp`, `extra`), the newest first."""
        found = self._get("/assets", params={"name_pattern": name, "limit": 100})["assets"]
        for asset in found:
            if asset["name"] == name:
                asked = {"asset_id": asset["id"], "order_by": "-timestamp", "limit": limit}
                events: list[dict[str, Any]] = self._get("/assets/events", params=asked)["asset_events"]
                return events
        return []

    def ensure_pools(self, pools: Iterable[Pool]) -> tuple[str, ...]:
        """Bring the server's pools to these, and return the names of those that were made or changed.

        Other pools, an administrator's own, are left alone.

        Raises:
            AirflowError: Airflow refuses one.
        """
        have = {pool["name"]: pool for pool in self._get("/pools", params={"limit": 1000})["pools"]}
        changed = []
        for pool in pools:
            body = {"slots": pool.slots, "description": pool.description, "include_deferred": False}
            known = have.get(pool.name)
            if known is None:
                response = self._send("POST", "/pools", json={"name": pool.name, **body})
            elif (known["slots"], known["description"]) != (pool.slots, pool.description):
                response = self._send("PATCH", f"/pools/{_part(pool.name)}", json={"pool": pool.name, **body})
            else:
                continue
            self._check(response, f"make the pool {pool.name}")
            changed.append(pool.name)
        return tuple(changed)

    def run_page(self, dag_id: str, run_id: str) -> str:
        """Return the address of a run for people."""
        return f"{self.url}/dags/{_part(dag_id)}/runs/{_part(run_id)}"

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        value: dict[str, Any] = self._check(self._send("GET", path, params=params), f"read {path}").json()
        return value

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            if self._token is None:
                self._token = self._new_token()
            response = self._authorised(method, path, **arguments)
            if response.status_code == httpx.codes.UNAUTHORIZED:
                self._token = self._new_token()
                response = self._authorised(method, path, **arguments)
        except httpx.TransportError as error:
            raise AirflowError(
                f"Airflow at {self.url} does not answer ({type(error).__name__}).", "Run `lake up --only airflow`."
            ) from error
        return response

    def _authorised(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        return self._http.request(method, f"/api/v2{path}", headers=headers, **arguments)

    def _new_token(self) -> str:
        response = self._check(self._http.get("/auth/token"), "log in")
        return str(response.json()["access_token"])

    def _check(self, response: httpx.Response, what: str) -> httpx.Response:
        if response.is_success:
            return response
        raise AirflowError(
            f"Airflow at {self.url} refused to {what} ({response.status_code}: {response.text[:400]}).",
            "Run `lake logs airflow`.",
        )


def _part(text: str) -> str:
    """One part of a path; Airflow's run ids hold colons and plus signs."""
    return quote(text, safe="")


def _log_line(entry: Any) -> str:
    """The text of one log entry with the exceptions it carries; "" for the marks that fold the page."""
    if not isinstance(entry, dict):
        return str(entry)
    text = str(entry.get("event", ""))
    errors = [str(e.get("exc_value", "")) for e in entry.get("error_detail") or [] if isinstance(e, dict)]
    return "" if text.startswith("::") else ": ".join([text, *(e for e in errors if e)])
