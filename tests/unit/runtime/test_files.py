"""A file is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.runtime.files import replace_file


@pytest.mark.parametrize("durable", [False, True])
def test_the_new_content_takes_the_place_of_the_old_for_its_owner_alone(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "made" / "note.json"
    replace_file(path, "một", durable=durable)
    replace_file(path, b"\x00hai", durable=durable)
    assert path.read_bytes() == b"\x00hai"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["note.json"]


def test_what_cannot_be_written_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    replace_file(path, "old", mode=0o644)
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, "\udc80")
    assert path.read_text(encoding="utf-8") == "old"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["note.json"]
