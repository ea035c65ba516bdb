"""A real broker in a process of its own, which a test can kill, and a device that publishes to it."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from certificates import self_signed
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from filelock import FileLock

from pipelines.runtime.install import cache_dir
from pipelines.runtime.java import java_home_17

FOLDER = Path(__file__).parent / "broker"
USER, PASSWORD = "lake", "mật khẩu"
STORE_PASSWORD = "changeit"
_START_TIMEOUT_S = 120.0
_CONFIG = """<?xml version="1.0"?>
<hivemq>
  <listeners>
    <tcp-listener><port>{port}</port><bind-address>127.0.0.1</bind-address></tcp-listener>
    <tls-tcp-listener>
      <port>{tls_port}</port><bind-address>127.0.0.1</bind-address>
      <tls>
        <keystore>
          <path>{store}</path><password>{password}</password><private-key-password>{password}</private-key-password>
        </keystore>
      </tls>
    </tls-tcp-listener>
  </listeners>
  <mqtt>
    <queued-messages><max-queue-size>100000</max-queue-size></queued-messages>
    <receive-maximum><server-receive-maximum>100</server-receive-maximum></receive-maximum>
  </mqtt>
  <persistence><mode>file</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
"""
_OPENED = ("java.base/java.lang", "java.base/java.nio", "java.base/sun.nio.ch", "java.base/java.lang.invoke")


def installed() -> str:
    """The class path of the broker; its jars are fetched by Maven once for all clones of a user."""
    stamp = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in ("pom.xml", "Broker.java"))).hexdigest()
    home = cache_dir() / "test-broker" / stamp[:16]
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_suffix(".lock")):
        if not (home / "Broker.class").is_file():
            command = ["mvn", "-B", "-q", "-f", str(FOLDER / "pom.xml"), "package", f"-Dlake.jars={home / 'jars'}"]
            subprocess.run(command, check=True, timeout=540)
            javac = [str(java_home_17() / "bin" / "javac"), "-cp", f"{home / 'jars'}/*", "-d", str(home)]
            subprocess.run([*javac, str(FOLDER / "Broker.java")], check=True, timeout=120)
    return f"{home}:{home / 'jars'}/*"


class Broker:
    """Its sessions are on disk: after a kill it goes on with them."""

    def __init__(self, folder: Path, port: int, tls_port: int) -> None:
        self.port, self.tls_port, self._folder = port, tls_port, folder
        self._log = folder / "broker.log"
        self.ca_file = folder / "ca.pem"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("conf", "data", "extensions"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        store = folder / "broker.p12"
        _certificate(self.ca_file, store)
        config = _CONFIG.format(port=port, tls_port=tls_port, store=store, password=STORE_PASSWORD)
        (folder / "conf" / "config.xml").write_text(config)

    def start(self) -> None:
        """Start it and wait until it listens."""
        opened = [f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED]
        command = [str(java_home_17() / "bin" / "java"), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                [*command, *opened, "-cp", installed(), "Broker", str(self._folder), USER, PASSWORD],
                stdout=stream,
                stderr=stream,
                cwd=self._folder,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while b"ready\n" not in self._log.read_bytes():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it politely."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=60)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)


class Device:
    """A publisher with QoS 1, which knows what the broker has acknowledged."""

    def __init__(self, broker: Broker, version: int = 5) -> None:
        protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client.username_pw_set(USER, PASSWORD)
        self._client.max_inflight_messages_set(100)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def publish(self, topic: str, body: bytes, qos: int = 1, properties: Any = None) -> None:
        """Publish and wait for the broker's acknowledgement."""
        self._client.publish(topic, body, qos, properties=properties).wait_for_publish(30)

    def publish_all(self, topic: str, bodies: list[bytes]) -> None:
        """Publish many, then wait for all acknowledgements."""
        for info in [self._client.publish(topic, body, 1) for body in bodies]:
            info.wait_for_publish(60)
            assert info.is_published()

    def close(self) -> None:
        """Sign off."""
        self._client.disconnect()
        self._client.loop_stop()


def _certificate(ca_file: Path, store: Path) -> None:
    """A certificate for 127.0.0.1 as PEM for clients, and with its key for the broker."""
    key, certificate = self_signed()
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encryption = serialization.BestAvailableEncryption(STORE_PASSWORD.encode())
    store.write_bytes(pkcs12.serialize_key_and_certificates(b"broker", key, certificate, None, encryption))
