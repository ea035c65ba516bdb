"""`lake doctor`: everything that is wrong with this machine or installation at once, each with a remedy."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.runtime import install
from pipelines.runtime.bootstrap import is_current
from pipelines.runtime.errors import LakeError
from pipelines.runtime.java import java_home_17, trino_java_home
from pipelines.runtime.ports import describe_listener, is_free, remembered_ports, service_folder
from pipelines.runtime.process import ProcessRecord, service_processes
from pipelines.runtime.servers import SPECS
from pipelines.runtime.settings import Settings

# All services together hold 5-6 GB under load (limit 9); below this the machine swaps or kills.
_MEMORY_GB = 8
# Jars, server, environment and the demo's tables need 4 GB; the rest is room for checkpoints and logs.
_DISK_GB = 10


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `problem` is "" when it is well, else a sentence, with a `remedy`."""

    check: str
    good: str = ""
    problem: str = ""
    remedy: str = ""


Check = Callable[[Settings, Mapping[str, str]], Iterator[Finding]]


def findings(settings: Settings, env: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
    """Return what every check found, good and bad, in a fixed order."""
    values = os.environ if env is None else env
    return tuple(finding for check in _CHECKS for finding in check(settings, values))


def _python(_settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] == (3, 11):
        yield Finding("python", f"Python {version}")
    else:
        yield Finding("python", problem=f"This is Python {version}.", remedy="Use Python 3.11 (`make setup`).")


def _java(_settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    try:
        yield Finding("java", f"Java 17 in {java_home_17()}, Java for Trino in {trino_java_home()}")
    except LakeError as error:
        yield Finding("java", problem=error.what, remedy=error.remedy)


def _tools(_settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    for tool, package, argument in (("mvn", "maven", "-version"), ("git", "git", "--version"), ("make", "make", "-v")):
        path = shutil.which(tool, path=env.get("PATH"))
        if path is None:
            yield Finding(
                tool,
                problem=f"{tool} is not on PATH.",
                remedy=f"Install it (Debian, Ubuntu: apt-get install {package}).",
            )
            continue
        answer = subprocess.run([path, argument], capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode != 0:
            problem = f"{path} does not run: {answer.stderr.strip()[:200]}"
            yield Finding(tool, problem=problem, remedy=f"Repair or reinstall {package}.")
        else:
            yield Finding(tool, path)


def _memory(_settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    free_gb = memory.available / 2**30
    if memory.total / 2**30 < _MEMORY_GB:
        yield Finding(
            "memory",
            problem=f"The machine has {memory.total / 2**30:.1f} GB of memory; everything together needs {_MEMORY_GB}.",
            remedy="Start a part with `lake up --only kafka,flink`, or use a larger machine.",
        )
    else:
        yield Finding("memory", f"{free_gb:.1f} GB available")


def _disk(settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    for name, path in (("disk", settings.state), ("disk of downloads", install.cache_dir())):
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        free_gb = shutil.disk_usage(existing).free / 2**30
        if free_gb < _DISK_GB:
            problem = f"{existing} has {free_gb:.1f} GB free; {_DISK_GB} are needed."
            yield Finding(name, problem=problem, remedy="Make room, or set LAKE_STATE (LAKE_CACHE) to another disk.")
        else:
            yield Finding(name, f"{free_gb:.0f} GB free under {existing}")


def _downloads(settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    for name, check in (("jars", install.check_jars), ("trino server", install.check_trino)):
        try:
            check(settings)
            yield Finding(name, "present, checksums match" if name == "jars" else "present")
        except LakeError as error:
            yield Finding(name, problem=error.what, remedy=error.remedy)


def _state(settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    writable = next(folder for folder in (settings.state, *settings.state.parents) if folder.exists())
    if not os.access(writable, os.W_OK):
        yield Finding("state", problem=f"{writable} is not writable.", remedy="Set LAKE_STATE to a folder of yours.")
    stale = []
    for path in sorted((settings.state / "services").glob("*/process.json")):
        record = ProcessRecord.read(path.parent)
        if record is None or record.process() is None:
            stale.append(path.parent.name)
    supervisor = ProcessRecord.read(service_folder(settings, "supervisor"))
    if stale and (supervisor is None or supervisor.process() is None):
        problem = f"{', '.join(stale)} died and no supervisor runs to restart them."
        yield Finding(
            "state", problem=problem, remedy="Run `lake up` to start them again, or `lake down` to end the rest."
        )
    else:
        yield Finding("state", f"{settings.state}")


def _ports(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    good = True
    for spec in SPECS:
        folder = service_folder(settings, spec.name)
        record = ProcessRecord.read(folder)
        if record is not None and record.process() is not None:
            continue
        leftovers = [str(process.pid) for process in service_processes(folder)]
        if leftovers:
            good = False
            problem = f"Processes {', '.join(leftovers)} of {spec.name} outlived it."
            yield Finding("ports", problem=problem, remedy="Run `lake down`: it ends what `lake up` began.")
            continue
        pinned = env.get(spec.pin_variable, "")
        wanted = int(pinned) if pinned.isdigit() and spec.ports else None
        if wanted is not None and not is_free(wanted):
            good = False
            yield Finding(
                "ports",
                problem=f"Port {wanted} for {spec.name} ({spec.pin_variable}) is taken by {describe_listener(wanted)}.",
                remedy=f"Stop that process, or set {spec.pin_variable} to another port, or unset it for a free one.",
            )
    if good:
        count = sum(len(remembered_ports(settings, spec.name)) for spec in SPECS)
        yield Finding("ports", f"{count} remembered, none in the way")


def _locks(settings: Settings, _env: Mapping[str, str]) -> Iterator[Finding]:
    lock = Path(settings.home / "requirements.lock")
    if not lock.is_file():
        yield Finding("lock", problem=f"{lock} is missing.", remedy="Restore it with git.")
    elif not is_current(settings.home, Path(sys.prefix)):
        problem = "The environment was not built from the present requirements.lock."
        yield Finding("lock", problem=problem, remedy="Run `make setup`.")
    else:
        yield Finding("lock", "the environment matches requirements.lock")


_CHECKS: tuple[Check, ...] = (_python, _java, _tools, _memory, _disk, _locks, _downloads, _state, _ports)
