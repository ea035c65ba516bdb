"""`lake gateway …`: the door for devices and departments, and the tokens of those who send."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.gateway import collector_commands, objects, sources, tokens
from pipelines.gateway.limits import Limits
from pipelines.gateway.normalise import IDENTIFIERS, Invalid
from pipelines.gateway.quarantine import Quarantine
from pipelines.gateway.state import read_report, summary
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

gateway_app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    help="Cửa nhận dữ liệu của thiết bị và sở ngành — the door for devices and departments: HTTP, MQTT, files.",
)
token_app = typer.Typer(
    no_args_is_help=True, help="Mã truy cập của nguồn gửi — tokens of senders, bound to datasets and an agency."
)
gateway_app.add_typer(token_app, name="token")
devices_app = typer.Typer(
    invoke_without_command=True, help="Thiết bị: im lặng, chưa đăng ký — devices: silent ones, unregistered ones."
)
gateway_app.add_typer(devices_app, name="devices")
key_app = typer.Typer(
    no_args_is_help=True, help="Khoá của mã thay giá trị cá nhân — keys of the tokens that stand for personal values."
)
gateway_app.add_typer(key_app, name="key")
gateway_app.add_typer(collector_commands.mqtt_app, name="mqtt")
gateway_app.add_typer(collector_commands.inbox_app, name="inbox")
gateway_app.add_typer(collector_commands.unbound_app, name="unbound")
gateway_app.command()(collector_commands.check)
_console = Console()
Megabytes = Annotated[int, typer.Option(min=1, help="Megabytes of disk used at most while Kafka is away.")]


@gateway_app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="LAKE_GATEWAY_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    tls_cert: Annotated[
        Path | None, typer.Option(envvar="LAKE_GATEWAY_TLS_CERT", help="Certificate chain (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="LAKE_GATEWAY_TLS_KEY", help="Its private key (PEM).")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy ends TLS; listen in clear on another address.")
    ] = False,
    spool_mb: Megabytes = 1024,
    body_mb: Annotated[int, typer.Option(min=1, max=64, help="Megabytes of one body at most.")] = 8,
    batch_records: Annotated[int, typer.Option(min=1, help="Records of one body at most.")] = 10_000,
    inbox: collector_commands.Folders = None,
    settle_s: Annotated[
        float, typer.Option(min=0, envvar="LAKE_GATEWAY_SETTLE_S", help="A dropped file is complete after so long.")
    ] = 5.0,
) -> None:
    """Take data over HTTP, from brokers and from inboxes until TERM or Ctrl-C; what was taken is settled first.

    POST /v1/ingest/DATASET with `Authorization: Bearer TOKEN`. The answer comes when every record is in Kafka
    (acks=all) or, while Kafka is away, on disk. See also /ready, /metrics and /openapi.json.
    """
    from pipelines.gateway.serve import Address, Inboxes, run

    configure_logging()
    settings = Settings.load()
    limits = Limits(
        body_bytes=body_mb * 2**20,
        batch_records=batch_records,
        in_flight_bytes=max(64, 2 * body_mb) * 2**20,
        spool_bytes=spool_mb * 2**20,
    )
    address = Address(host, port, tls_cert, tls_key, behind_proxy)
    run(settings, registry_of(settings), address, limits, Inboxes(inbox, settle_s))


@token_app.command("create")
def create(
    source: Annotated[str, typer.Argument(help="Name of the sender: a system, a field gateway, a device.")],
    agency: Annotated[str, typer.Option(help="Agency that answers for it, a code of the list `agencies`.")] = "",
    dataset: Annotated[list[str] | None, typer.Option(help="Stream to which it may send, repeatable.")] = None,
    rate: Annotated[float, typer.Option(help="Records a second at most.")] = sources.DEFAULT_RATE_PER_S,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until the token expires.")] = 365,
    origin: Annotated[str, typer.Option(help="What its records are: observed, replay or synthetic.")] = "observed",
    delegated: Annotated[
        bool, typer.Option("--delegated", help="It sends for another agency, which owns the dataset.")
    ] = False,
) -> None:
    """Make a token and print it: the only time that it can be seen, only a hash is kept.

    Example: lake gateway token create thuy-van-1 --agency H57.NNMT --dataset river_stage --dataset rain_gauge

    For a source that exists, a token more is made: change over, then revoke the old one.
    """
    settings = Settings.load()
    wanted = sources.Source(source, agency, tuple(dataset or ()), rate, origin, is_delegated=delegated)
    token = sources.create_token(settings, registry_of(settings), wanted, timedelta(days=days))
    Console(stderr=True).print("Mã chỉ hiện một lần — it is shown only now; keep it as a secret.", highlight=False)
    typer.echo(token)


@token_app.command("list")
def list_tokens() -> None:
    """Show every source with its datasets, rate and tokens; a token's own text is not kept."""
    table = Table(title=f"sources · {Settings.load().namespace}", title_justify="left")
    for name in ("nguồn / source", "agency", "datasets", "rate/s", "origin", "token", "state", "expires"):
        table.add_column(name)
    now = datetime.now(UTC)
    for source in sources.Sources(Settings.load()).all():
        first = (source.name, source.agency, ", ".join(source.datasets), f"{source.rate_per_s:g}", source.origin)
        for number, token in enumerate(source.tokens):
            table.add_row(
                *(first if number == 0 else [""] * 5),
                token.token_id,
                "ended" if source.is_ended else token.state(now),
                token.expires_at[:10],
            )
    _console.print(table)


@token_app.command("revoke")
def revoke(
    source: Annotated[str, typer.Argument(help="Name of the sender.")],
    token_id: Annotated[
        str | None, typer.Option("--token", help="One token of it (see `token list`); default: all.")
    ] = None,
    end: Annotated[
        bool, typer.Option("--end", help="End the source itself: by a broker or an inbox it may not send either.")
    ] = False,
) -> None:
    """End tokens of a source at once: a running gateway needs no restart.

    Without a token a source may still send by a broker or an inbox, where others look after who may write. With --end
    its messages are kept as unbound and its files wait, until `token create` lets it send again.
    """
    if end and token_id is not None:
        raise LakeError("--token names one token, --end all of them and the source.", "Give one of the two.")
    ended = sources.revoke(Settings.load(), source, token_id, ends=end)
    if not ended and not end:
        raise LakeError(f"{source} has no token that is not revoked already.", "See `lake gateway token list`.")
    if end:
        typer.echo(f"Đã ngừng nguồn / the source has ended: {source}")
    if ended:
        typer.echo(f"Đã thu hồi / revoked: {', '.join(ended)}")


@gateway_app.command()
def datastream(
    source: Annotated[str, typer.Argument(help="Name of the sender.")],
    number: Annotated[str, typer.Argument(help="@iot.id of the Datastream on its SensorThings server.")],
    fields: Annotated[list[str], typer.Argument(help="What it stands for: station_id=71520 unit=cm …")],
    dataset: Annotated[str, typer.Option(help="Stream that its observations belong to.")],
) -> None:
    """Say what a SensorThings Datastream of a source stands for, so that observations may name it by its id alone.

    Example: lake gateway datastream thuy-van-1 12 station_id=71520 --dataset river_stage
    """
    settings = Settings.load()
    given: dict[str, str] = {"dataset": dataset}
    for text in fields:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise LakeError(f"{text!r} does not say a field.", "Write field=value, for example station_id=71520.")
        given[name] = value
    sources.set_datastream(settings, registry_of(settings), source, number, given)
    typer.echo(f"{source}: Datastream {number} → {', '.join(f'{name}={value}' for name, value in given.items())}")


@gateway_app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what the gateway of the namespace wrote down last: Kafka, spool, counts, devices."""
    told = read_report(Settings.load())
    if told is None:
        typer.echo("Chưa chạy — no gateway has run in this namespace.")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps({**asdict(told), "is_alive": told.is_alive(datetime.now(UTC))}, ensure_ascii=False))
        return
    table = Table(title=f"gateway · {told.namespace} · pid {told.pid} · {told.written_at}", title_justify="left")
    table.add_column("")
    table.add_column("")
    for name, text in summary(told, datetime.now(UTC)):
        table.add_row(name, text)
    _console.print(table)


@devices_app.callback()
def devices(context: typer.Context) -> None:
    """Show which registered devices are silent, and which unregistered ones have sent (their records are kept)."""
    if context.invoked_subcommand is not None:
        return
    settings = Settings.load()
    told = read_report(settings)
    title = "Thiết bị đã đăng ký — registered devices"
    if told and not told.is_alive(datetime.now(UTC)):
        title += f" · không có cửa nhận từ · no gateway since {told.written_at[:19]}Z"
    table = Table(title=title, title_justify="left")
    silent, never = ("im lặng / silent", "names"), ("chưa từng / never", "names")
    for name in ("dataset", "register", "registered", "reporting", *silent, *never):
        table.add_column(name)
    for row in told.devices if told else ():
        counts = (row.registered, row.reporting, row.silent, row.never) if row.is_checked else ("—",) * 4
        known, reporting, quiet, unheard = map(str, counts)
        names, unheard_names = ", ".join(row.names), ", ".join(row.never_names)
        table.add_row(row.dataset, row.register, known, reporting, quiet, names, unheard, unheard_names)
    _console.print(table)
    quarantine = Quarantine(settings)
    strangers, gone = quarantine.strangers(), quarantine.usage().gone
    quarantine.close()
    if strangers:
        table = Table(
            title="Chưa đăng ký, bản ghi được giữ — unregistered, their records are kept", title_justify="left"
        )
        for name in ("dataset", "device", "records", "first", "last"):
            table.add_column(name)
        for item in strangers:
            table.add_row(item.dataset, item.device, str(item.records), item.first_at[:19], item.last_at[:19])
        _console.print(table)
        _console.print("When one is registered: lake gateway devices release DATASET", highlight=False)
    if gone:
        table = Table(title="Đã bỏ vì quá hạn hoặc hết chỗ — let go: too old, or no room", title_justify="left")
        for name in ("dataset", "why", "records", "MB", "last"):
            table.add_column(name)
        for each in gone:
            size = f"{each.size_bytes / 2**20:.1f}"
            table.add_row(each.dataset, each.why, str(each.records), size, each.last_at[:19])
        _console.print(table)


@devices_app.command("release")
def release_devices(
    dataset: Annotated[str, typer.Argument(help="Stream whose quarantine is looked at.")],
    device: Annotated[str | None, typer.Argument(help="One device; default: all that are registered by now.")] = None,
) -> None:
    """Send in the records of devices that were unknown when they sent, and are registered now."""
    from pipelines.gateway.release import release

    settings = Settings.load()
    done = release(settings, registry_of(settings), endpoints(settings).kafka, dataset, device)
    typer.echo(f"Đã gửi / sent: {done.sent}, không dùng được / no use: {done.refused}")
    if done.still_unknown:
        typer.echo(f"Vẫn chưa đăng ký / still unknown: {', '.join(done.still_unknown)}")


@key_app.command("rotate")
def rotate_keys() -> None:
    """Make new keys: for tokens that join nothing, and for refused personal bytes; older keys stay for lookup.

    Tokens that join tables keep their first key for ever. A running gateway takes the new keys up within seconds,
    landing with its next start. Back up the secrets folder afterwards.
    """
    settings = Settings.load()
    typer.echo(
        f"token-key-v{tokens.rotate(settings)}, objects-key-v{objects.rotate(settings)} → {settings.secrets_dir}"
    )


@key_app.command("lookup")
def lookup(
    kind: Annotated[str, typer.Argument(help=f"What the value is: {', '.join(IDENTIFIERS)}.")],
) -> None:
    """Print every token that a personal value may have, for an authorised search; the value is asked for, not shown.

    Example: lake gateway key lookup plate < plate.txt
    """
    if kind not in IDENTIFIERS:
        raise LakeError(f"{kind!r} is no kind of personal value.", f"Allowed: {', '.join(IDENTIFIERS)}.")
    interactive = sys.stdin.isatty()
    value = typer.prompt(kind, hide_input=True) if interactive else sys.stdin.readline().strip()
    try:
        found = tokens.load_tokeniser(Settings.load()).tokens(kind, value)
    except Invalid as error:
        raise LakeError(f"This is no {kind}: {error}.", "Look at the spelling.") from None
    for token in found:
        typer.echo(token)
