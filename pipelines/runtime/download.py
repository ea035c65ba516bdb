"""One large file over HTTP that goes on where an interruption left it, killed or not.

Maven finds the repository (its settings may name a mirror), but cannot do this itself: 3.8 begins a part file again
from its first byte, 3.9 does not even find it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import httpx

from pipelines.runtime.errors import LakeError

_ATTEMPTS = 5
_PAUSE_S = 2.0
_TIMEOUT = httpx.Timeout(30.0, read=60.0)


def repository_url(effective_settings: str, effective_pom: str, repository: str = "central") -> str | None:
    """The address that Maven takes for a repository, from the XML of `help:effective-settings` and `…-pom`.

    None when only Maven itself can go there: its settings name a proxy, or a user for the repository.
    """
    # Maven has read and written this XML itself just now: nothing in it comes from elsewhere.
    settings, pom = (ElementTree.fromstring(text) for text in (effective_settings, effective_pom))  # noqa: S314
    if any(_text(proxy, "active") != "false" for proxy in settings.iterfind("{*}proxies/{*}proxy")):
        return None
    name, url = repository, None
    for entry in pom.iterfind(".//{*}repositories/{*}repository"):
        if _text(entry, "id") == repository:
            url = _text(entry, "url")
    for mirror in settings.iterfind("{*}mirrors/{*}mirror"):
        if _text(mirror, "blocked") != "true" and _covers(_text(mirror, "mirrorOf"), repository):
            name, url = _text(mirror, "id"), _text(mirror, "url")
            break
    if name in {_text(server, "id") for server in settings.iterfind("{*}servers/{*}server")}:
        return None
    return url.rstrip("/") if url else None


def _covers(mirror_of: str, repository: str) -> bool:
    """Whether a mirror stands for a repository on another machine, by Maven's rules (`!` takes one out)."""
    patterns = [pattern.strip() for pattern in mirror_of.split(",")]
    return f"!{repository}" not in patterns and any(p in {"*", "external:*", repository} for p in patterns)


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()


def fetch(url: str, target: Path, progress: Callable[[int, int], None], pause_s: float = _PAUSE_S) -> None:
    """Bring `url` to `target`; `progress` hears bytes done and in all (0 when unknown).

    What has come lies in `<target>.part` and is asked for no second time, unless the server cannot send a part. A
    broken connection is tried again as long as each attempt brings something, at most five times when none does.

    Raises:
        LakeError: the server refuses, or cannot be reached.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    fruitless = 0
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        while True:
            before = part.stat().st_size if part.is_file() else 0
            try:
                _receive(client, url, part, progress)
                break
            except httpx.HTTPStatusError as error:
                code = error.response.status_code
                raise LakeError(
                    f"{url} answered {code} {error.response.reason_phrase}.", "Check the mirror in Maven's settings."
                ) from error
            except httpx.TransportError as error:
                fruitless = 0 if part.is_file() and part.stat().st_size > before else fruitless + 1
                if fruitless >= _ATTEMPTS:
                    raise LakeError(
                        f"{url} cannot be read: {error}.",
                        "Check the network, then run the same command again: it goes on where it stopped.",
                    ) from error
                time.sleep(pause_s)
    os.replace(part, target)


def _receive(client: httpx.Client, url: str, part: Path, progress: Callable[[int, int], None]) -> None:
    have = part.stat().st_size if part.is_file() else 0
    # Compressed on the way, a part of the file would not be a part of what is sent.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            # Nothing comes after what is there: it is whole, or it is not this file; the checksum tells which.
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if not resumed:
            have = 0
        total = have + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as stream:
            for block in response.iter_raw():
                stream.write(block)
                have += len(block)
                progress(have, max(total, 0))
