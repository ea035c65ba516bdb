"""Kafka Connect over its REST API: which connectors there are, how they do, starting and ending them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_TIMEOUT_S = 15.0
_SETTLE_S = 90.0
_POLL_S = 0.2
_SEE_LOG = "See `lake logs connect`."
_REBALANCING = 409


@dataclass(frozen=True)
class ConnectorStatus:
    """One connector: states as Connect names them (`RUNNING`, `STOPPED`, `FAILED`), and the first line of what its
    task failed with. Without a task it does not work yet, or was stopped."""

    name: str
    state: str
    task: str | None
    problem: str | None

    @property
    def works(self) -> bool:
        """Whether the connector and its task run."""
        return self.state == self.task == "RUNNING"


class Connect:
    """A session with the one worker; use it as a context manager. Every method raises ServiceError when it is down."""

    def __init__(self, rest: str) -> None:
        """`rest` is the address of the worker, without a trailing slash; nothing is sent yet."""
        self._rest = rest
        self._client = httpx.Client(base_url=rest, timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def names(self) -> tuple[str, ...]:
        """Return the connectors that there are, sorted."""
        return tuple(sorted(self._asked("GET", "/connectors").json()))

    def config(self, name: str) -> Mapping[str, str]:
        """Return how a connector is set up; what is secret is only named in it."""
        found: Mapping[str, str] = self._asked("GET", f"{_path(name)}/config").json()
        return found

    def offsets(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """Return how far a connector came, in its own words, for each part of its source; nothing before it began."""
        return tuple(one["offset"] or {} for one in self._asked("GET", f"{_path(name)}/offsets").json()["offsets"])

    def put(self, name: str, config: Mapping[str, str]) -> None:
        """Make a connector, or change it; one that says so already is left alone.

        Raises ServiceError with what Connect finds wrong with the configuration.
        """
        found = self._send("GET", f"{_path(name)}/config")
        if not (found.is_success and found.json() == {**config, "name": name}):
            self._asked("PUT", f"{_path(name)}/config", dict(config))

    def status(self, name: str) -> ConnectorStatus | None:
        """Return how a connector does; None when there is none of this name, or none that has begun."""
        answer = self._send("GET", f"{_path(name)}/status")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        said = self._good(answer, "GET").json()
        task = said["tasks"][0] if said["tasks"] else None
        trace = (task or {}).get("trace") or said["connector"].get("trace")
        problem = trace.splitlines()[0] if trace else None
        return ConnectorStatus(name, said["connector"]["state"], task["state"] if task else None, problem)

    def resume(self, name: str) -> None:
        """Let a stopped connector go on, and begin a task that failed anew."""
        self._asked("PUT", f"{_path(name)}/resume")
        if self.status(name) is not None:
            self._asked("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=true")

    def stop(self, name: str) -> None:
        """End a connector's task and wait until it has; the connector and how far it came stay."""
        self._asked("PUT", f"{_path(name)}/stop")
        deadline = time.monotonic() + _SETTLE_S
        while (found := self.status(name)) is not None and (found.state, found.task) != ("STOPPED", None):
            if time.monotonic() > deadline:
                raise ServiceError(f"The connector {name} did not stop within {_SETTLE_S:.0f} s.", _SEE_LOG)
            time.sleep(_POLL_S)

    def remove(self, name: str) -> bool:
        """End a connector and forget how far it came; returns whether there was one."""
        if name not in self.names():
            return False
        self.stop(name)
        self._asked("DELETE", f"{_path(name)}/offsets")
        self._asked("DELETE", _path(name))
        return True

    def _asked(self, method: str, path: str, body: object = None) -> httpx.Response:
        return self._good(self._send(method, path, body), method)

    def _good(self, answer: httpx.Response, method: str) -> httpx.Response:
        if answer.is_success:
            return answer
        what = f"Kafka Connect at {self._rest} refuses {method} {answer.request.url.path}"
        raise ServiceError(f"{what} ({answer.status_code}): {_message(answer)}", _SEE_LOG)

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask until the worker is not busy with sharing out its tasks."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise ServiceError(
                    f"Kafka Connect at {self._rest} does not answer ({type(error).__name__}).",
                    "Run `lake up --only connect`.",
                ) from error
            if answer.status_code != _REBALANCING or time.monotonic() > deadline:
                return answer
            time.sleep(_POLL_S)


def connect(settings: Settings) -> Connect:
    """Return a session with the running worker; raises ServiceError when none runs."""
    return Connect(endpoints(settings).connect)


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _message(answer: httpx.Response) -> Any:
    try:
        return answer.json().get("message", answer.text)
    except ValueError:
        return answer.text
