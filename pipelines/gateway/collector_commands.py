"""`lake gateway mqtt …`, `inbox …`, `unbound …` and `check`: the ways in besides HTTP."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts.registry import load_registry
from pipelines.gateway import checks
from pipelines.gateway.inbox.folder import Folder
from pipelines.gateway.inbox.watch import inbox_root
from pipelines.gateway.mqtt.connections import Connection, connections, set_connection
from pipelines.gateway.mqtt.unbound import Unbound
from pipelines.gateway.sources import Sources
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.decision import Decision
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

mqtt_app = typer.Typer(
    no_args_is_help=True, help="Máy chủ MQTT — brokers to which devices send; topics stand in schemas/collectors/."
)
inbox_app = typer.Typer(no_args_is_help=True, help="Thư mục nhận tệp — folders into which departments drop files.")
unbound_app = typer.Typer(
    no_args_is_help=True, help="Thông điệp chưa rõ bộ dữ liệu — messages that could not be bound: look, replay, drop."
)
_console = Console()
Folders = Annotated[
    Path | None,
    typer.Option(envvar="LAKE_GATEWAY_INBOX", help="Folder with the inboxes of every namespace.", file_okay=False),
]

By = Annotated[str, typer.Option(help="Who decides.")]
Why = Annotated[str, typer.Option(help="Why.")]


def check(inbox: Folders = None) -> None:
    """Check collectors, brokers and inboxes: every finding with its place and what to do; ends with 1 if there is one.

    Looks at files and sources only; whether a broker answers, `lake status` tells.
    """
    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    found = list(checks.findings(settings, registry, inbox_root(settings, inbox)))
    for line in found:
        _console.print(line, highlight=False, soft_wrap=True)
    if found:
        raise typer.Exit(1)
    table = Table(title=f"collectors · {settings.namespace}", title_justify="left")
    for name in ("collector", "topic", "dataset", "source", "media type", "broker"):
        table.add_column(name)
    known = connections(settings)
    for collector in registry.collectors:
        for binding in collector.bindings:
            broker = known[collector.id].url if collector.id in known else "—"
            table.add_row(
                collector.id,
                binding.topic,
                binding.dataset or "{dataset}",
                binding.source or "{source}",
                binding.media_type,
                broker,
            )
    _console.print(table)


@mqtt_app.command("connect")
def connect(
    collector: Annotated[str, typer.Argument(help="Id of a file in schemas/collectors/, for example field.")],
    url: Annotated[str, typer.Option(help="mqtts://host:8883, or mqtt://host:1883 on this machine.")],
    version: Annotated[str, typer.Option(help="Version of MQTT: 5 or 3.1.1.")] = "5",
    user: Annotated[str, typer.Option(help="User at the broker.")] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password; default: LAKE_MQTT_PASSWORD_<COLLECTOR>.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates that the broker's is checked against (PEM).")
    ] = None,
    cert_file: Annotated[Path | None, typer.Option(help="The gateway's own certificate (PEM).")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    trusted_network: Annotated[
        bool, typer.Option("--trusted-network", help="The way to the broker is encrypted otherwise (VPN).")
    ] = False,
) -> None:
    """Say where the broker of a collector is; a running gateway connects within seconds.

    Example: lake gateway mqtt connect field --url mqtts://mqtt.hue.local --user lake --password-file /etc/lake/mqtt

    The session at the broker belongs to this installation and namespace: messages wait there while the gateway is away.
    """
    settings = Settings.load()
    known = {each.id for each in load_registry(settings.home / "schemas").collectors}
    if collector not in known:
        raise LakeError(f"schemas/collectors/{collector}.yaml is not there.", f"There are: {', '.join(sorted(known))}.")
    old = connections(settings).get(collector)
    connection = Connection(
        collector,
        url,
        old.client_id if old else f"lake-{settings.namespace}-{collector}-{secrets.token_hex(4)}",
        version,
        user,
        _absolute(password_file),
        _absolute(ca_file),
        _absolute(cert_file),
        _absolute(key_file),
        is_trusted_network=trusted_network,
    )
    connection.check()
    set_connection(settings, collector, connection)
    _console.print(f"{collector} ← {url} (MQTT {version}, {connection.client_id})", highlight=False)


@mqtt_app.command("list")
def list_connections() -> None:
    """Show the brokers of this namespace; how they go, `lake status` tells."""
    table = Table(title=f"brokers · {Settings.load().namespace}", title_justify="left")
    for name in ("collector", "url", "version", "user", "session"):
        table.add_column(name)
    for each in connections(Settings.load()).values():
        table.add_row(each.collector, each.url, each.version, each.user or "—", each.client_id)
    _console.print(table)


@mqtt_app.command("forget")
def forget(collector: Annotated[str, typer.Argument(help="Id of the collector.")]) -> None:
    """Take messages of a broker no more; a running gateway ends the connection within seconds.

    What the broker keeps for the session stays there until the session expires.
    """
    settings = Settings.load()
    if collector not in connections(settings):
        raise LakeError(f"{collector} is not connected.", "See `lake gateway mqtt list`.")
    set_connection(settings, collector, None)
    _console.print(f"{collector}: đã bỏ — forgotten")


@inbox_app.command("open")
def open_inbox(
    source: Annotated[str, typer.Argument(help="Name of the source, as `lake gateway token list` shows it.")],
    dataset: Annotated[str, typer.Argument(help="Stream that its files hold.")],
    inbox: Folders = None,
) -> None:
    """Make the folder into which a source drops files of one dataset, and print it.

    Give the department write access to this folder alone. Who may write there sends in the name of the source.
    """
    settings = Settings.load()
    registry = registry_of(settings)
    known = Sources(settings).named(source)
    if dataset not in {each.id for each in registry.streams()}:
        raise LakeError(f"There is no stream {dataset!r} in {settings.namespace}.", "See `lake contracts show`.")
    if not registry.dataset(dataset).is_sent:
        sent = ", ".join(each.id for each in registry.sent())
        raise LakeError(f"The platform alone writes {dataset}.", f"Streams that a source may send: {sent}.")
    if not known.may_send(dataset):
        raise LakeError(f"{source} may not send to {dataset}.", f"It is bound to: {', '.join(known.datasets)}.")
    path = inbox_root(settings, inbox) / source / dataset
    path.mkdir(parents=True, exist_ok=True)
    Folder(path).close()
    typer.echo(str(path))


@unbound_app.command("list")
def list_unbound() -> None:
    """Show messages that belong to no dataset as things stand, with the reason; the newest last."""
    table = Table(title=f"unbound · {Settings.load().namespace}", title_justify="left")
    for name in ("id", "collector", "topic", "bytes", "times", "first", "last", "reason", "again"):
        table.add_column(name)
    for each in Unbound(Settings.load()).all():
        table.add_row(
            str(each.id),
            each.collector,
            each.topic,
            str(each.size_bytes),
            str(each.times),
            each.first_at[:19],
            each.last_at[:19],
            each.reason,
            "•" if each.again else "",
        )
    _console.print(table)


@unbound_app.command("show")
def show(message: Annotated[int, typer.Argument(help="Id, see `unbound list`.")]) -> None:
    """Print the bytes of one message, and on standard error why it could not be bound."""
    unbound = Unbound(Settings.load())
    found = next((each for each in unbound.all() if each.id == message), None)
    if found is None:
        raise LakeError(f"There is no message {message}.", "See `lake gateway unbound list`.")
    Console(stderr=True).print(f"{found.topic}: {found.reason}: {found.detail}", highlight=False, soft_wrap=True)
    sys.stdout.buffer.write(unbound.body(found))


@unbound_app.command("replay")
def replay(
    messages: Annotated[list[int] | None, typer.Argument(help="Ids; none means all.")] = None,
    by: By = "",
    why: Why = "",
) -> None:
    """Have the gateway try again, after a source or binding was mended; what is taken then leaves the list.

    Example: lake gateway unbound replay --by "Nguyễn An" --why "source thuy-van-1 was made"
    """
    count = Unbound(Settings.load()).ask_again(messages or (), Decision(by, why))
    _console.print(f"{count}: sẽ thử lại — will be tried again by the running gateway")


@unbound_app.command("drop")
def drop(
    messages: Annotated[list[int], typer.Argument(help="Ids, see `unbound list`.")], by: By = "", why: Why = ""
) -> None:
    """Forget messages and their bytes for ever."""
    _console.print(f"{Unbound(Settings.load()).drop(messages, Decision(by, why))}: đã xoá — dropped")


@unbound_app.command("log")
def log() -> None:
    """Show who had kept messages tried again or dropped, and why."""
    table = Table(title=f"unbound · {Settings.load().namespace}", title_justify="left")
    for name in ("at", "action", "messages", "ids", "by", "why"):
        table.add_column(name)
    for each in Unbound(Settings.load()).decisions():
        table.add_row(each.at[:19], each.action, str(each.messages), each.ids, each.decided_by, each.why)
    _console.print(table)


def _absolute(path: Path | None) -> str:
    return str(path.absolute()) if path else ""
