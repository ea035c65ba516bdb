"""Connections of the environment: read as Airflow reads them, and never shown with a password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.ingestion.connections import (
    Connection,
    ConnectionMissing,
    ConnectionUnreadable,
    find_connection,
    parse_connection,
    variable_of,
)

HARD = [
    "postgresql://user:secret@db.hue.local:5433/hues",
    "postgres://user:secret@db.hue.local/hues",
    "postgresql://db.hue.local",
    "postgresql://user@db.hue.local/",
    "postgresql://:only-a-password@db.hue.local/hues",
    "postgresql://user:@db.hue.local/hues",
    "postgresql://s%E1%BB%9F:m%E1%BA%ADt%20kh%E1%BA%A9u@h/c%C6%A1%20s%E1%BB%9F",
    "postgresql://user:p%40ss%3Aw%2Ford%25%3F%23%5B%5D@h:1/d",
    "postgresql://user:p@ss@h:1/d",
    "postgresql://user:a+b=c&d@h/d?sslmode=require&sslrootcert=%2Fetc%2Fca.pem",
    "postgresql://u:p@h/d?empty=&connect_timeout=5&flag=true",
    "postgresql://u:p@h/d?__extra__=%7B%22sslmode%22%3A+%22require%22%2C+%22deep%22%3A+%7B%22a%22%3A+%5B1%5D%7D%7D",
    "postgresql://u:p@DB.Hue.Local/D",
    "postgresql://u:p@[::1]:5432/d",
    "postgresql://u:p@%2Fvar%2FRun%2Fpg/d",
    "postgresql://u:p@h/d/e",
    "google-cloud-platform://?project=p",
    "my-type://u:p@h",
    "http://https://api.hue.gov.vn/v1?token=a%20b",
    "mysql://u:p@h:3306/",
    json.dumps({"conn_type": "postgresql", "host": "h", "login": "u", "password": "p@:/%", "schema": "d", "port": 5}),
    json.dumps({"conn_type": "my-type", "host": "h", "port": "5432", "extra": {"sslmode": "require", "deep": [1]}}),
    json.dumps({"conn_type": "postgres", "extra": '{"sslmode": "require"}', "description": "không dùng"}),
    json.dumps({"host": "h", "password": "mật khẩu 𝄞 \\ \" '", "port": None, "extra": None}),
    "{}",
]
PORT = "its port is no number up to 65535, or a sign of a part is not written as %XX"
SCRIPT = """
import json, sys
from airflow.sdk import Connection
found = []
for text in json.load(sys.stdin):
    one = Connection.from_json(text, conn_id="x") if text.startswith("{") else Connection.from_uri(text, conn_id="x")
    extra = json.loads(one.extra) if one.extra else {}
    parts = {name: getattr(one, name) or "" for name in ("conn_type", "host", "login", "password", "schema")}
    found.append({**parts, "port": one.port, "extra": extra})
print("RESULT" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def airflow_reads(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What Airflow makes of them; in a process of its own, since it changes logging for good."""
    home = tmp_path_factory.mktemp("airflow")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(HARD),
        env={**os.environ, "AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(run.stdout.split("RESULT", 1)[1])
    assert len(found) == len(HARD)
    return found


@pytest.mark.parametrize("number", range(len(HARD)), ids=lambda number: HARD[number][:60])
def test_a_connection_is_read_as_airflow_reads_it(airflow_reads: list[dict[str, Any]], number: int) -> None:
    own = parse_connection("x", HARD[number])
    assert {
        "conn_type": own.kind,
        "host": own.host,
        "login": own.login,
        "password": own.password,
        "schema": own.database,
        "port": own.port,
        "extra": dict(own.extra),
    } == airflow_reads[number]


def test_what_airflow_writes_is_read_back() -> None:
    text = json.dumps({"conn_type": "postgres", "host": "h", "login": "u", "password": "p", "schema": "d", "extra": {}})
    env = {"AIRFLOW_CONN_SECTOR_HUES": f"  {text}\n"}
    assert find_connection("sector_hues", env) == Connection("sector_hues", "postgres", "h", None, "d", "u", "p", {})


def test_no_password_is_shown() -> None:
    own = parse_connection("x", 'postgresql://user:hush@h/d?__extra__={"key": "quiet"}')
    for shown in (repr(own), str(own), f"{own}", repr([own])):
        assert "hush" not in shown and "quiet" not in shown
        assert "user" in shown and "h" in shown


@pytest.mark.parametrize("env", [{}, {"AIRFLOW_CONN_SECTOR_HUES": ""}, {"AIRFLOW_CONN_SECTOR_HUE": "postgresql://h/d"}])
def test_a_missing_connection_says_which_variable_to_set(env: dict[str, str]) -> None:
    assert variable_of("sector_hues") == "AIRFLOW_CONN_SECTOR_HUES"
    with pytest.raises(ConnectionMissing) as caught:
        find_connection("sector_hues", env)
    assert str(caught.value).startswith(
        "There is no connection 'sector_hues'. Set AIRFLOW_CONN_SECTOR_HUES (postgresql://user:password@host:5432/database"
    )
    assert str(caught.value).endswith("or make the connection 'sector_hues' in Airflow for its runs.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hush", "it is no URI like type://host"),
        ("://u:hush@h", "it is no URI like type://host"),
        ("a://b://c://hush", "it is no URI like type://host"),
        ("postgresql://u:hush://x@h/d", "a sign of a part is not written as %XX"),
        ("postgresql://u:hu/sh@h/d", PORT),
        (
            "postgresql://u:hush@h:port/d",
            PORT,
        ),
        (
            "postgresql://u:hush@h:99999/d",
            PORT,
        ),
        ("postgresql://u:hush@[h/d", PORT),
        ("postgresql://u:hush@h/d?__extra__=hush", "its extra is no JSON"),
        ('{"password": "hush"', "its JSON ends at line 1, column 20"),
        (
            '{"password": "hush", "pasword": "hush"}',
            "unknown key pasword (allowed: conn_type, description, extra",
        ),
        ('{"password": ["hush"]}', "the value of password is no text"),
        ('{"password": "hush", "port": "hush"}', "its port is no number"),
        ('{"password": "hush", "extra": ["hush"]}', "its extra is no JSON object"),
    ],
)
def test_what_is_no_connection_is_told_without_what_it_holds(text: str, said: str) -> None:
    with pytest.raises(ConnectionUnreadable) as caught:
        find_connection("sector_hues", {"AIRFLOW_CONN_SECTOR_HUES": text})
    shown = str(caught.value)
    assert shown.startswith(f"AIRFLOW_CONN_SECTOR_HUES holds no connection: {said}")
    assert "hush" not in shown and caught.value.__suppress_context__


def test_connections_are_read_without_airflow() -> None:
    code = "import sys, pipelines.ingestion.access; sys.exit('airflow' in sys.modules)"
    home = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": str(home)}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=60, check=False).returncode == 0
