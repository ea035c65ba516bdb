"""One connection to one broker: a session that outlives both ends, QoS 1, acknowledgements by hand."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from pipelines.contracts.collectors import Collector
from pipelines.gateway.mqtt.connections import Connection
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import write_text

log = logging.getLogger(__name__)
_RETRY_FIRST_S, _RETRY_MOST_S = 1, 30
_NOT_UTF8 = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came. `mid` is its packet identifier, None for QoS 0, which nobody can acknowledge."""

    topic: str
    body: bytes = field(repr=False)
    content_type: str | None
    mid: int | None
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of the connection. `refused` names filters that the broker does not grant as they are needed;
    `sessions_lost` counts how often it had forgotten the session, and with it what was sent meanwhile.
    """

    is_connected: bool = False
    problem: str = "not connected yet"
    refused: tuple[str, ...] = ()
    connections: int = 0
    sessions_lost: int = 0
    has_failed: bool = False


class BrokerClient:
    """`on_message` and `on_new_connection` are called in the network's own thread."""

    def __init__(
        self,
        settings: Settings,
        collector: Collector,
        connection: Connection,
        on_message: Callable[[Incoming], None],
        on_new_connection: Callable[[], None],
    ) -> None:
        """Prepare the client; :meth:`start` connects.

        Raises:
            LakeError: the connection cannot work as it is described.
        """
        connection.check()
        self.link = Link()
        self._collector, self._connection = collector, connection
        self._on_message, self._on_new_connection = on_message, on_new_connection
        self._memory = settings.state / "gateway" / settings.namespace / f"mqtt-{collector.id}.json"
        self._filters = tuple(binding.pattern.filter for binding in collector.bindings)
        self._client = self._made()
        self._is_ending = False

    def start(self) -> None:
        """Connect in the background, again and again until it works."""
        connection = self._connection
        more: dict[str, Any] = {}
        if self._is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = int(self._collector.session_expiry.total_seconds())
            properties.ReceiveMaximum = self._collector.receive_maximum
            more = {"clean_start": False, "properties": properties}
        self._client.connect_async(connection.host, connection.port, connection.keep_alive_s, **more)
        self._client.loop_start()

    def stop(self) -> None:
        """Send the acknowledgements that wait, sign off, and end; the broker keeps the session."""
        self._is_ending = True
        self._client.disconnect()
        self._client.loop_stop()
        self.link = replace(self.link, is_connected=False, problem="stopped")

    def ack(self, mid: int) -> None:
        """Acknowledge a message; without a connection nothing happens, and the broker sends it again."""
        self._client.ack(mid, 1)

    @property
    def _is_5(self) -> bool:
        return self._connection.version == "5"

    def _made(self) -> _Client:
        connection = self._connection
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=connection.client_id,
            clean_session=None if self._is_5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_5 else MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        client.told = self._cannot_connect
        client.reconnect_delay_set(_RETRY_FIRST_S, _RETRY_MOST_S)
        if connection.is_tls:
            client.tls_set_context(connection.tls())
        client.on_pre_connect = self._sign_in
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        return client

    # ── called by the network's thread ───────────────────────────────────────────────────────────────────────

    def _sign_in(self, client: Client, _data: object) -> None:
        if not self._connection.user:
            return
        try:
            client.username_pw_set(self._connection.user, self._connection.password(os.environ))
        except LakeError as error:
            log.error("no password for the broker", extra={"collector": self._collector.id, "cause": str(error)})
            client.username_pw_set(self._connection.user)

    def _connected(
        self, client: Client, _data: object, flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._problem(f"the broker refuses the connection: {reason}")
            return
        known = self._remembered()
        is_lost = bool(known) and not flags.session_present
        if is_lost:
            log.error("the broker has forgotten the session", extra={"collector": self._collector.id})
        self.link = Link(
            is_connected=True,
            problem="",
            connections=self.link.connections + 1,
            sessions_lost=self.link.sessions_lost + is_lost,
        )
        log.info("connected to the broker", extra={"collector": self._collector.id, "url": self._connection.url})
        # What came on the last connection and has no acknowledgement comes again on this one.
        self._on_new_connection()
        gone = sorted(set(known) - set(self._filters))
        if gone and flags.session_present:
            client.unsubscribe(gone)
        if self._is_5:
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            client.subscribe([(name, options) for name in self._filters])
        else:
            client.subscribe([(name, 1) for name in self._filters])

    def _subscribed(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = []
        for name, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                refused.append(f"{name}: {reason}")
            elif reason.value == 0:
                refused.append(f"{name}: granted with QoS 0 only, messages could be lost")
        self.link = replace(self.link, refused=tuple(refused))
        if refused:
            log.error("a subscription is not granted", extra={"collector": self._collector.id, "cause": refused[0]})
            return
        write_text(self._memory, json.dumps({"filters": self._filters}))

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = _NOT_UTF8
        content_type = getattr(message.properties, "ContentType", None) if message.properties else None
        mid = message.mid if message.qos else None
        self._on_message(Incoming(topic, bytes(message.payload), content_type, mid, message.dup))

    def _disconnected(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        self._on_new_connection()
        # A refusal that was told before says more than that the connection ended with it.
        self._problem(f"the connection ended: {reason}" if self.link.is_connected else self.link.problem)

    def _cannot_connect(self, error: BaseException, *, is_end: bool = False) -> None:
        self._problem(f"{self._connection.url} cannot be reached: {error}")
        self.link = replace(self.link, has_failed=is_end)

    def _problem(self, text: str) -> None:
        if text != self.link.problem and not self._is_ending:
            log.warning("no connection to the broker", extra={"collector": self._collector.id, "cause": text})
        self.link = replace(self.link, is_connected=False, problem=text)

    def _remembered(self) -> tuple[str, ...]:
        """The filters of the session that the broker should have; none before the first connection."""
        try:
            return tuple(json.loads(self._memory.read_text(encoding="utf-8"))["filters"])
        except (OSError, ValueError, KeyError):
            return ()


class _Client(Client):
    """The library's client, which says why a connection failed, and when its thread ended."""

    told: Callable[..., None]

    def reconnect(self) -> MQTTErrorCode:
        """Connect once; the library swallows the reason otherwise."""
        try:
            return super().reconnect()
        except OSError as error:
            self.told(error)
            raise

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Run until the end; what ends it by accident is told, so that it is begun anew."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:
            log.exception("the client of a broker failed")
            self.told(error, is_end=True)
            raise
