"""The gateway as a process over TLS, with a certificate of its own: who trusts it gets in, nobody else does."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from certificates import self_signed
from cryptography.hazmat.primitives import serialization

from pipelines.contracts.registry import Registry
from pipelines.gateway.sources import Source, create_token
from pipelines.runtime.ports import is_free
from pipelines.runtime.settings import Settings

from .conftest import HOME

READING = {"station_id": "71520", "observed_at": "2025-10-27T20:00:00+07:00", "stage_m": 5.05}


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[Path, Path]:
    """The certificate and the key as PEM files."""
    key, certificate = self_signed()
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return cert_file, key_file


@pytest.fixture
def address(
    settings: Settings, trusted: tuple[Path, Path], tmp_path: Path, wait_until: Callable[..., None]
) -> Iterator[str]:
    """`lake gateway serve` on a free port; its Kafka is away."""
    port = next(port for port in range(29_000, 30_000) if is_free(port))
    cert_file, key_file = map(str, trusted)
    options = ("--port", str(port), "--tls-cert", cert_file, "--tls-key", key_file)
    log = tmp_path / "gateway.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "gateway", "serve", *options],
            env={**os.environ, **settings.environment(), "PYTHONPATH": str(HOME)},
            stdout=stream,
            stderr=stream,
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return not is_free(port)

    try:
        wait_until(listens, timeout_s=60, what="the gateway listens")
        yield f"127.0.0.1:{port}"
        process.terminate()
        assert process.wait(timeout=40) == 0, log.read_text()
    finally:
        process.kill()


def test_records_come_over_tls_and_tokens_never_in_clear(
    address: str, settings: Settings, registry: Registry, trusted: tuple[Path, Path]
) -> None:
    token = create_token(settings, registry, Source("gw-1", "H57.NNMT", ("river_stage",)))
    headers = {"Authorization": f"Bearer {token}"}
    known = ssl.create_default_context(cafile=str(trusted[0]))
    with httpx.Client(base_url=f"https://{address}", headers=headers, verify=known, timeout=30) as client:
        assert client.get("/health").json()["service"] == "lake-gateway"
        taken = client.post("/v1/ingest/river_stage", json=[READING])
        assert (taken.status_code, taken.json()["spooled"]) == (202, 1)
    with httpx.Client(base_url=f"https://{address}", headers=headers, timeout=30) as stranger:
        with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
            stranger.get("/health")
    with httpx.Client(base_url=f"http://{address}", headers=headers, timeout=30) as in_clear:
        with pytest.raises(httpx.TransportError):
            in_clear.post("/v1/ingest/river_stage", json=[READING])
