"""Generated files: equal to what the contracts say, written whole, never over somebody's own file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from catalogue import city

from pipelines.commands.contracts import GENERATED_FOLDERS, rendered
from pipelines.contracts import artifacts

ROOT = Path(__file__).parents[3]
TEXT = f"# {artifacts.MARK}\nvalue: 1\n"


def test_the_committed_files_are_those_of_the_contracts() -> None:
    drift = artifacts.compare(ROOT, rendered(city()), GENERATED_FOLDERS)
    assert not drift, f"run `lake contracts build`: {drift}"


def test_two_builds_under_different_hash_seeds_are_equal() -> None:
    code = (
        "import hashlib, pathlib; from pipelines.commands.contracts import rendered; "
        "from pipelines.contracts.registry import load_registry; "
        f"r = rendered(load_registry(pathlib.Path({str(ROOT / 'schemas')!r}))); "
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
    assert artifacts.write(tmp_path, {"out/new.yml": TEXT}, ("out",)) == artifacts.Drift(
        missing=("out/new.yml",), changed=(), orphaned=("out/old.yml",)
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["new.yml", "own.yml"]
    assert not artifacts.write(tmp_path, {"out/new.yml": TEXT}, ("out",))


def test_a_hand_written_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("by hand\n")
    with pytest.raises(FileExistsError, match=r"mine\.yml is hand-written"):
        artifacts.write(tmp_path, {"mine.yml": TEXT}, ())
