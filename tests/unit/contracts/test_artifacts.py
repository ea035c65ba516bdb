"""Generated files: equal to what the contracts say, written whole, never over somebody's own file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from catalogue import city
from ruamel.yaml import YAML

from pipelines.commands.contracts import FOLDERS, OTHERS
from pipelines.contracts import artifacts, build, rendering

ROOT = Path(__file__).parents[3]
TEXT = f"# {artifacts.MARK}\nvalue: 1\n"


def test_the_committed_files_are_those_of_the_contracts() -> None:
    drift = artifacts.compare(ROOT, build.render(city(), OTHERS), FOLDERS)
    assert not drift, f"run `lake contracts build`: {drift}"


def test_two_builds_under_different_hash_seeds_are_equal() -> None:
    code = (
        "import hashlib, pathlib; from pipelines.commands.contracts import OTHERS; "
        "from pipelines.contracts.build import render; "
        "from pipelines.contracts.registry import load_registry; "
        f"r = render(load_registry(pathlib.Path({str(ROOT / 'schemas')!r})), OTHERS); "
        "print(hashlib.sha256(repr(sorted(r.items())).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_new_changed_and_orphaned_files_are_brought_in_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.yml").write_text(TEXT)
    (tmp_path / "out" / "own.yml").write_text("by hand\n")
    (tmp_path / "out" / "in").mkdir()
    (tmp_path / "out" / "in" / "old.yml").write_text(TEXT)
    assert artifacts.write(tmp_path, {"out/new.yml": TEXT}, ("out", "out/in")) == artifacts.Drift(
        missing=("out/new.yml",), changed=(), orphaned=("out/in/old.yml", "out/old.yml")
    )
    (tmp_path / "out" / "in").rmdir()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["new.yml", "own.yml"]
    assert not artifacts.write(tmp_path, {"out/new.yml": TEXT}, ("out",))


def test_a_hand_written_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("by hand\n")
    with pytest.raises(FileExistsError, match=r"mine\.yml is hand-written"):
        artifacts.write(tmp_path, {"mine.yml": TEXT}, ())


def test_rdf_is_loaded_only_to_write_the_catalogue() -> None:
    code = "import sys, pipelines.contracts.build; sys.exit('rdflib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_two_targets_cannot_want_one_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "TARGETS", (build.TARGETS[0], build.TARGETS[0]))
    with pytest.raises(ValueError, match="which another target renders too"):
        build.render(city())


def test_every_generated_file_lies_in_a_folder_that_is_watched() -> None:
    for path in build.render(city(), OTHERS):
        assert any(path.startswith(f"{folder}/") for folder in FOLDERS), path


TEXTS = [
    "1e3",
    "0o7",
    "1:30",
    "y",
    "N",
    "-1",
    ".5",
    "2026-01-01",
    "no",
    "Null",
    "~",
    "",
    "=",
    "a: b",
    "#x",
    "- a",
    "à\nb",
]
PLAIN = [1, -2, 0.1, 1e-05, 1e22, 100.0, True, None, [], {}, [1, {"a": ["b"]}]]


@pytest.mark.parametrize("value", [*TEXTS, *PLAIN], ids=repr)
def test_every_yaml_reads_back_what_was_written(value: object) -> None:
    written = rendering.yaml_file({"value": value, "yes": value})
    for version in ("1.1", "1.2"):
        reader = YAML(typ="safe", pure=True)
        reader.version = version
        assert reader.load(written) == {"value": value, "yes": value}


def test_what_has_no_form_in_yaml_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no form in YAML"):
        rendering.yaml_file({"value": object()})
