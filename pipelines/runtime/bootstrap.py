"""The environment: `.venv` with exactly what requirements.lock names. Runs on the bare Python, so only on its library.

`python3.11 -m pipelines.runtime.bootstrap` looks at one stamp and ends when nothing has changed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pipelines.runtime.errors import LakeError
from pipelines.runtime.java import java_home_17

STAMP = ".lake-environment"
_PYTHON = (3, 11)


def environment_fingerprint(home: Path) -> str:
    """Return a hash of what the environment is built from: the lock, and the project's own tables."""
    project = tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))
    digest = hashlib.sha256((home / "requirements.lock").read_bytes())
    digest.update((home / "infra" / "setup" / "uv.txt").read_bytes())
    digest.update(json.dumps([project["project"], project["build-system"]], sort_keys=True).encode())
    return digest.hexdigest()


def is_current(home: Path, environment: Path) -> bool:
    """Say whether `environment` was built from the present files of `home`."""
    stamp = environment / STAMP
    return stamp.is_file() and stamp.read_text(encoding="ascii") == environment_fingerprint(home)


def missing_prerequisites(environ_path: str) -> list[LakeError]:
    """Return a problem for every program that must be there before anything is fetched."""
    problems = []
    if sys.version_info[:2] != _PYTHON:
        found = ".".join(str(part) for part in sys.version_info[:3])
        problems.append(LakeError(f"This is Python {found}.", "Run `make` with PYTHON=<path of a Python 3.11>."))
    for program, package in (("mvn", "maven"), ("git", "git")):
        if shutil.which(program, path=environ_path) is None:
            remedy = f"Install it (Debian, Ubuntu: apt-get install {package})."
            problems.append(LakeError(f"{program} is not on PATH.", remedy))
    try:
        java_home_17()
    except LakeError as problem:
        problems.append(problem)
    return problems


def build(home: Path, environment: Path) -> None:
    """Bring `environment` to what the lock names and install the project into it, editable.

    Raises LakeError naming the step that failed.
    """
    python = environment / "bin" / "python"
    if not _is_python(python):
        print(f"environment: making {environment}", flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        _run(
            [sys.executable, "-m", "venv", str(environment)],
            "Python cannot make a virtual environment.",
            "Install its venv module (Debian, Ubuntu: apt-get install python3.11-venv).",
        )
    (environment / STAMP).unlink(missing_ok=True)
    network = "Check the network and the package index that pip is configured for, then run `make setup` again."
    # Beside the environment's packages, not among them: synchronising would remove it.
    tools = environment / ".uv"
    uv = tools / "bin" / "uv"
    pin = home / "infra" / "setup" / "uv.txt"
    if not uv.is_file() or not _same(tools / "pin.txt", pin):
        print("environment: installing uv", flush=True)
        shutil.rmtree(tools, ignore_errors=True)
        arguments = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--target", str(tools)]
        _run([str(python), "-m", "pip", *arguments, "-r", str(pin)], "The installer uv cannot be installed.", network)
        shutil.copyfile(pin, tools / "pin.txt")
    print("environment: installing the locked packages (1.7 GB; cached for the next clone)", flush=True)
    lock = str(home / "requirements.lock")
    target = ["--python", str(python)]
    # Compiled here, once: where Python may not write beside its modules (a read-only image, PYTHONDONTWRITEBYTECODE)
    # every process would compile them again, which is half of what a small load or a command costs.
    _run(
        [str(uv), "pip", "sync", *target, "--require-hashes", "--compile-bytecode", lock],
        "The locked packages cannot be installed.",
        network,
    )
    _run(
        [str(uv), "pip", "install", *target, "--no-deps", "--build-constraints", lock, "--editable", str(home)],
        "The project cannot be installed into its environment.",
        network,
    )
    _run(
        [str(python), "-m", "compileall", "-q", str(home / "pipelines")],
        "A module of the project cannot be compiled.",
        "Read the error above; `git status` says whether a file was changed.",
    )
    (environment / STAMP).write_text(environment_fingerprint(home), encoding="ascii")
    print("environment: ready", flush=True)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _is_python(python: Path) -> bool:
    if not python.exists():
        return False
    probe = [str(python), "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str], what: str, remedy: str) -> None:
    environment = {"UV_HTTP_TIMEOUT": "300", "UV_CONCURRENT_DOWNLOADS": "16", **os.environ}
    environment.pop("VIRTUAL_ENV", None)
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise LakeError(what, remedy)


def main() -> int:
    """Check the prerequisites, build the environment if it is not current; returns the exit status."""
    home = Path(__file__).resolve().parents[2]
    environment = home / ".venv"
    if is_current(home, environment):
        return 0
    problems = missing_prerequisites(os.environ.get("PATH", ""))
    for problem in problems:
        print(f"✘ {problem}", file=sys.stderr)
    if problems:
        return 1
    # Beside .venv, which may be removed and made again while the lock is held.
    with (home / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(home, environment):
            return 0
        try:
            build(home, environment)
        except LakeError as problem:
            print(f"✘ {problem}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
