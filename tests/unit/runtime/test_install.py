"""Checksums, stamps, unpacking and prerequisites of the set-up, without the network."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipelines.runtime import bootstrap, doctor, install, java
from pipelines.runtime.archive import extract_server, wanted
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
POM = "{http://maven.apache.org/POM/4.0.0}"


def server_tar(path: Path) -> Path:
    """A server with a library, a kept plugin, a plugin that is not kept, and links in both directions."""
    with tarfile.open(path, "w:gz") as tar:
        _file(tar, "trino-server-1/lib/a.jar", b"library")
        _file(tar, "trino-server-1/plugin/kafka/only-there.jar", b"shared")
        _link(tar, "trino-server-1/plugin/kafka/a.jar", "trino-server-1/lib/a.jar")
        _link(tar, "trino-server-1/plugin/delta-lake/a.jar", "trino-server-1/lib/a.jar")
        _link(tar, "trino-server-1/plugin/delta-lake/b.jar", "trino-server-1/plugin/kafka/only-there.jar")
        _file(tar, "trino-server-1/bin/launcher", b"script")
    return path


def _file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.LNKTYPE, target
    tar.addfile(member)


def test_only_what_is_needed_is_unpacked_and_links_are_resolved(tmp_path: Path) -> None:
    seen: list[int] = []
    extract_server(server_tar(tmp_path / "t.tar.gz"), tmp_path / "server", seen.append)
    found = {
        str(path.relative_to(tmp_path / "server")): path.read_bytes()
        for path in (tmp_path / "server").rglob("*")
        if path.is_file()
    }
    assert found == {
        "lib/a.jar": b"library",
        "plugin/delta-lake/a.jar": b"library",
        "plugin/delta-lake/b.jar": b"shared",
    }
    assert seen == sorted(seen)


def test_a_tar_that_climbs_out_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as tar:
        _file(tar, "trino-server-1/lib/../../../evil.jar", b"x")
    with pytest.raises(LakeError, match="unsafe path"):
        extract_server(tmp_path / "t.tar.gz", tmp_path / "server", lambda _done: None)
    assert [path.name for path in tmp_path.iterdir()] == ["t.tar.gz"]


def test_a_broken_tar_leaves_the_old_server(tmp_path: Path) -> None:
    tar = server_tar(tmp_path / "t.tar.gz")
    extract_server(tar, tmp_path / "server", lambda _done: None)
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    with pytest.raises((LakeError, EOFError, tarfile.ReadError)):
        extract_server(tar, tmp_path / "server", lambda _done: None)
    assert (tmp_path / "server" / "lib" / "a.jar").read_bytes() == b"library"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("trino-server-476/lib/x.jar", True),
        ("trino-server-476/plugin/delta-lake/x.jar", True),
        ("trino-server-476/plugin/delta-lake", False),
        ("trino-server-476/plugin/hive/x.jar", False),
        ("trino-server-476/bin/launcher", False),
        ("trino-server-476", False),
    ],
)
def test_what_is_kept(name: str, kept: bool) -> None:
    assert wanted(name) is kept


def test_every_jar_of_the_pom_is_pinned_and_nothing_else() -> None:
    named = set()
    for execution in ElementTree.parse(HOME / "infra/jars/pom.xml").iter(f"{POM}execution"):
        group = execution.findtext(f"{POM}id")
        for item in execution.iter(f"{POM}artifactItem"):
            named.add(f"{group}/{item.findtext(f'{POM}artifactId')}-{item.findtext(f'{POM}version')}.jar")
    pinned = {line.split()[1] for line in (HOME / "infra/jars/checksums.txt").read_text("ascii").splitlines()}
    assert named == pinned
    assert len(named) == 54


def test_a_changed_jar_is_named(tmp_path: Path) -> None:
    settings = _installation(tmp_path, {"kafka/a.jar": b"one", "spark/b.jar": b"two"})
    install.check_jars(settings)
    (settings.dist / "jars" / "spark" / "b.jar").write_bytes(b"other")
    with pytest.raises(LakeError, match=r"spark/b\.jar in .* do not have the pinned checksum"):
        install.check_jars(settings)
    (settings.dist / "jars" / "kafka" / "a.jar").unlink()
    with pytest.raises(LakeError, match=r"1 jars are not in .*kafka/a\.jar.*make setup"):
        install.check_jars(settings)


def _installation(folder: Path, jars: dict[str, bytes]) -> Settings:
    pins = folder / "home" / "infra" / "jars" / "checksums.txt"
    pins.parent.mkdir(parents=True)
    settings = replace(Settings.load({}), home=folder / "home", dist=folder / "dist")
    lines = []
    for name, content in jars.items():
        path = settings.dist / "jars" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    pins.write_text("".join(lines), encoding="ascii")
    return settings


def test_the_shared_cache_may_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKE_CACHE", str(tmp_path))
    assert install.cache_dir() == tmp_path
    monkeypatch.delenv("LAKE_CACHE")
    assert install.cache_dir() == Path.home() / ".cache" / "hue-lakehouse"


def test_the_environment_is_stale_when_lock_or_project_change(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "requirements.lock", "infra/setup/uv.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((HOME / name).read_bytes())
    environment = tmp_path / ".venv"
    environment.mkdir()
    assert not bootstrap.is_current(tmp_path, environment)
    (environment / bootstrap.STAMP).write_text(bootstrap.environment_fingerprint(tmp_path), encoding="ascii")
    assert bootstrap.is_current(tmp_path, environment)
    with (tmp_path / "pyproject.toml").open("a", encoding="utf-8") as stream:
        stream.write("\n[tool.something]\nx = 1\n")
    assert bootstrap.is_current(tmp_path, environment), "a rule of a tool changes no package"
    with (tmp_path / "requirements.lock").open("a", encoding="utf-8") as stream:
        stream.write("\n")
    assert not bootstrap.is_current(tmp_path, environment)


def test_missing_programs_are_named_all_at_once(tmp_path: Path) -> None:
    problems = [str(problem) for problem in bootstrap.missing_prerequisites(str(tmp_path))]
    assert any("mvn is not on PATH. Install it" in problem for problem in problems)
    assert any("git is not on PATH. Install it" in problem for problem in problems)


def _java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch()
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n', encoding="utf-8")
    return home


def test_java_17_is_taken_from_java_home_first(tmp_path: Path) -> None:
    home = _java(tmp_path / "jdk", "17.0.15")
    assert java.java_home_17({"JAVA_HOME": str(home), "PATH": ""}) == home


def test_the_versions_that_were_found_instead_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_USUAL_PLACES", (str(tmp_path / "none"),))
    home = _java(tmp_path / "jdk", "21.0.1")
    with pytest.raises(LakeError, match=rf"Java 17 was not found \(found 21 in {home}\)\. Install a JDK 17"):
        java.java_home_17({"JAVA_HOME": str(home), "PATH": ""})


def test_the_doctor_says_everything_at_once(settings: Settings, tmp_path: Path) -> None:
    found = doctor.findings(settings, {"PATH": str(tmp_path), "LAKE_PORT_KAFKA": ""})
    problems = {finding.check: finding for finding in found if finding.problem}
    assert {"mvn", "git", "make", "jars", "trino server"} <= set(problems)
    assert all(finding.remedy for finding in problems.values())
    assert all(finding.good for finding in found if not finding.problem)


def test_the_lock_names_no_registry() -> None:
    lock = (HOME / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert json.dumps(lock).count("--hash=sha256:") > 200
