"""Rendered configuration, logging lines and the text of errors."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import LineFormatter
from pipelines.runtime.templates import fingerprint, render, write_text
from pipelines.runtime.trino import catalog_properties

HOME = Path(__file__).resolve().parents[3]


def line(level: int, message: str, **extra: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    logger = logging.Logger("pipelines.test")
    logger.addHandler(handler)
    logger.log(level, message, extra=extra)
    return stream.getvalue().rstrip("\n")


def test_a_log_line_has_utc_level_name_and_pairs() -> None:
    text = line(logging.INFO, "committed", rows=200, table="river_stage", note="mực nước cao", late=None)
    stamp, rest = text.split(" ", 1)
    assert stamp.endswith("Z")
    assert rest == 'INFO pipelines.test committed rows=200 table=river_stage note="mực nước cao" late=null'


def test_an_event_is_one_line_even_with_a_trace() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    logger = logging.Logger("x")
    logger.addHandler(handler)
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logger.exception("failed\nbadly", exc_info=sys.exc_info())
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "failed\\nbadly" in text
    assert "ValueError" in text


def test_a_template_with_an_open_place_is_refused(tmp_path: Path) -> None:
    template = tmp_path / "a.conf"
    template.write_text("port=${port} home=${home}", encoding="utf-8")
    with pytest.raises(LakeError, match="has the place 'home', which nothing fills"):
        render(template, {"port": 1})


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "conf" / "a"
    write_text(path, "x")
    before = path.stat()
    write_text(path, "x")
    assert path.stat().st_ino == before.st_ino
    write_text(path, "y", mode=0o600)
    assert (path.read_text(encoding="utf-8"), oct(path.stat().st_mode & 0o777)) == ("y", "0o600")


def test_a_fingerprint_follows_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1", encoding="utf-8")
    first = fingerprint("x", files=(tmp_path / "a",))
    assert fingerprint("x", files=(tmp_path / "a",)) == first
    (tmp_path / "a").write_text("12", encoding="utf-8")
    assert fingerprint("x", files=(tmp_path / "a",)) != first


def test_every_address_in_the_server_templates_is_loopback() -> None:
    checked = 0
    for path in sorted((HOME / "infra").rglob("*")):
        if path.suffix not in {".properties", ".yaml", ".conf", ".cfg"} or "log4j2" in path.name:
            continue
        text = path.read_text(encoding="utf-8")
        assert "0.0.0.0" not in text, path
        checked += "127.0.0.1" in text
    assert checked >= 6


def test_the_first_access_rules_give_people_only_published_and_live() -> None:
    rules = json.loads((HOME / "infra/trino/rules.json").read_text(encoding="utf-8"))
    for rule in rules["tables"]:
        if rule.get("user") != "platform" and rule.get("catalog") != "system":
            assert rule["privileges"] in ([], ["SELECT"])
            assert rule["privileges"] == [] or rule["schema"] == "published|live"
    assert rules["tables"][-1] == {"privileges": []}


def test_a_catalog_sees_only_its_namespace(tmp_path: Path) -> None:
    drill = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    assert catalog_properties(drill)["local.location"] == str(tmp_path / "lake" / "drill")
