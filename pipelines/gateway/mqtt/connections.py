"""Where the brokers of a namespace are and how to sign in: `<state>/gateway/<namespace>/mqtt.json`.

What is subscribed to stands in the contracts (`schemas/collectors/`); this is the part that belongs to an installation.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.runtime.errors import LakeError
from pipelines.runtime.ports import is_loopback
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import write_text

VERSIONS = ("5", "3.1.1")
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Connection:
    """One broker. `collector` is the id of a file in `schemas/collectors/`; paths are absolute. `client_id` names the
    session that the broker keeps: it is this installation's alone, and stays.

    `url` is `mqtts://host:8883`, or `mqtt://` for a broker on this machine or behind a network that is trusted. The
    password is the content of `password_file`, else of the variable LAKE_MQTT_PASSWORD_<COLLECTOR>.
    """

    collector: str
    url: str
    client_id: str
    version: str = "5"
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    is_trusted_network: bool = False
    keep_alive_s: int = 30

    @property
    def host(self) -> str:
        """The host name of the broker."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its port; 8883 with TLS and 1883 without, unless the URL says another."""
        parts = urlsplit(self.url)
        return parts.port or _PORTS[parts.scheme]

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    def check(self) -> None:
        """Refuse what cannot work, and what would carry data over a network in clear.

        Raises:
            LakeError: what is wrong and what to do.
        """
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in _PORTS and parts.hostname and (parts.port or 1) > 0
        except ValueError:
            known = False
        if not known or parts.path or parts.query:
            raise LakeError(f"{self.url!r} is no address of a broker.", "Write mqtts://host:8883 or mqtt://host:1883.")
        if parts.username or parts.password:
            raise LakeError("A URL is no place for a password.", "Give --user and --password-file.")
        if not self.is_tls and not self.is_trusted_network and not is_loopback(self.host):
            what = f"Data and passwords would travel to {self.host} in clear."
            raise LakeError(what, "Use mqtts://, or say --trusted-network when the way there is encrypted otherwise.")
        if self.version not in VERSIONS:
            raise LakeError(f"There is no version {self.version!r} of MQTT here.", f"Allowed: {', '.join(VERSIONS)}.")
        if bool(self.cert_file) != bool(self.key_file):
            raise LakeError("A client's certificate needs its key.", "Give --cert-file and --key-file.")
        if self.password_file and not self.user:
            raise LakeError("A password needs a user.", "Give --user.")
        for path in (self.password_file, self.ca_file, self.cert_file, self.key_file):
            if path and not os.access(path, os.R_OK):
                raise LakeError(f"The file {path} cannot be read.", "Give a file that the gateway's user may read.")
        if self.is_tls:
            self.tls()

    def tls(self) -> ssl.SSLContext:
        """What a client needs for TLS: the broker's certificate and name are always checked.

        Raises:
            LakeError: a file is no certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            what = f"The certificates for {self.url} cannot be used: {error}."
            raise LakeError(what, "Give PEM files; the key has no passphrase.") from None
        return context

    def password(self, env: Mapping[str, str]) -> str | None:
        """The password, read anew so that it can be changed without a restart; None without a user.

        Raises:
            LakeError: the file cannot be read.
        """
        if not self.user:
            return None
        if not self.password_file:
            return env.get(f"LAKE_MQTT_PASSWORD_{self.collector.upper()}")
        try:
            return Path(self.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise LakeError(f"The password for {self.url} cannot be read: {error}.", "Look at the file.") from None


def connections(settings: Settings) -> dict[str, Connection]:
    """The brokers of the namespace by collector.

    Raises:
        LakeError: the file cannot be read.
    """
    path = connections_path(settings)
    try:
        found = [Connection(**values) for values in json.loads(path.read_text(encoding="utf-8"))["connections"]]
    except FileNotFoundError:
        return {}
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise LakeError(f"{path} cannot be read: {error}.", "Say `lake gateway mqtt connect` again.") from error
    return {connection.collector: connection for connection in found}


def set_connection(settings: Settings, collector: str, connection: Connection | None) -> None:
    """Remember a broker, or forget it; a running gateway follows within seconds.

    Raises:
        LakeError: the file cannot be read.
    """
    known = connections(settings)
    known.pop(collector, None)
    if connection is not None:
        known[collector] = connection
    path = connections_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(path, json.dumps({"connections": [asdict(known[name]) for name in sorted(known)]}, indent=1))


def connections_path(settings: Settings) -> Path:
    """`<state>/gateway/<namespace>/mqtt.json`."""
    return settings.state / "gateway" / settings.namespace / "mqtt.json"
