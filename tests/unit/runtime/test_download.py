"""Downloads that are cut off, refused or begun by another process, against a real HTTP server on loopback."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from pipelines.runtime.download import fetch, repository_url
from pipelines.runtime.errors import LakeError

CONTENT = bytes(range(256)) * 16_384


class Files(BaseHTTPRequestHandler):
    """Serves CONTENT, by parts when asked; `cut_after` bytes of each answer it hangs up."""

    cut_after: ClassVar[int] = len(CONTENT)
    by_parts: ClassVar[bool] = True
    hold: ClassVar[threading.Event] = threading.Event()
    first_bytes: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        """Answer a GET of the one file there is."""
        if self.path != "/file.tar.gz":
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.by_parts else 0
        self.first_bytes.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        sent = CONTENT[start : start + self.cut_after]
        self.wfile.write(sent)
        self.wfile.flush()
        if start + len(sent) < len(CONTENT):
            self.hold.wait(20)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of the file on a server of its own."""
    Files.cut_after, Files.by_parts, Files.first_bytes = len(CONTENT), True, []
    Files.hold = threading.Event()
    Files.hold.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file.tar.gz"
    Files.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_broken_connection_goes_on_from_its_last_byte(url: str, tmp_path: Path) -> None:
    Files.cut_after = 1_500_000
    seen: list[tuple[int, int]] = []
    fetch(url, tmp_path / "file", lambda done, total: seen.append((done, total)), pause_s=0)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert Files.first_bytes == [0, 1_500_000, 3_000_000]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_killed_download_is_resumed_by_the_next_process(url: str, tmp_path: Path) -> None:
    Files.cut_after = 2_000_000
    Files.hold.clear()
    target = tmp_path / "file"
    code = (
        "import sys, pathlib\nfrom pipelines.runtime.download import fetch\n"
        "fetch(sys.argv[1], pathlib.Path(sys.argv[2]), lambda done, total: print(done, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code, url, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 2_000_000:
                break
        process.send_signal(signal.SIGKILL)
    part = target.with_name("file.part").stat().st_size
    assert 0 < part < len(CONTENT)
    Files.hold.set()
    Files.cut_after = len(CONTENT)
    fetch(url, target, lambda done, total: None, pause_s=0)
    assert target.read_bytes() == CONTENT
    assert Files.first_bytes == [0, part]


def test_a_server_without_parts_begins_again(url: str, tmp_path: Path) -> None:
    Files.by_parts = False
    (tmp_path / "file.part").write_bytes(b"something older")
    fetch(url, tmp_path / "file", lambda done, total: None, pause_s=0)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_taken_as_it_is(url: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch(url, tmp_path / "file", lambda done, total: None, pause_s=0)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_refusal_and_an_absent_server_are_one_sentence_each(url: str, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="answered 404"):
        fetch(f"{url}.absent", tmp_path / "file", lambda done, total: None, pause_s=0)
    with pytest.raises(LakeError, match="goes on where it stopped"):
        fetch("http://127.0.0.1:1/file", tmp_path / "file", lambda done, total: None, pause_s=0)
    assert not (tmp_path / "file").exists()


POM = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><repositories><repository><id>central</id>'
    "<url>https://central.invalid/maven2/</url></repository></repositories></project>"
)


def settings_xml(body: str) -> str:
    return f'<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">{body}</settings>'


def mirror(mirror_of: str, extra: str = "") -> str:
    inner = f"<id>m</id><mirrorOf>{mirror_of}</mirrorOf><url>https://mirror.invalid/all</url>{extra}"
    return f"<mirrors><mirror>{inner}</mirror></mirrors>"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", "https://central.invalid/maven2"),
        (mirror("*"), "https://mirror.invalid/all"),
        (mirror("external:*"), "https://mirror.invalid/all"),
        (mirror("other,central"), "https://mirror.invalid/all"),
        (mirror("*,!central"), "https://central.invalid/maven2"),
        (mirror("external:http:*", "<blocked>true</blocked>"), "https://central.invalid/maven2"),
        (mirror("*") + "<servers><server><id>m</id></server></servers>", None),
        (mirror("*") + "<servers><server><id>other</id></server></servers>", "https://mirror.invalid/all"),
        ("<proxies><proxy><active>true</active></proxy></proxies>", None),
        ("<proxies><proxy><active>false</active></proxy></proxies>", "https://central.invalid/maven2"),
    ],
)
def test_the_repository_is_the_one_that_maven_would_take(settings: str, expected: str | None) -> None:
    assert repository_url(settings_xml(settings), POM) == expected
