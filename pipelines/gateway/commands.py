"""`lake gateway …`: the door for devices and departments, its tokens, and what it knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.gateway import sources
from pipelines.gateway.limits import Limits
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

gateway_app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    help="Cửa nhận dữ liệu của thiết bị và sở ngành — the door for devices and departments: HTTP, tokens, spool.",
)
token_app = typer.Typer(
    no_args_is_help=True, help="Mã truy cập của nguồn gửi — tokens of senders, bound to datasets and an agency."
)
gateway_app.add_typer(token_app, name="token")
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
) -> None:
    """Take data over HTTP until TERM or Ctrl-C; what was taken is settled first.

    POST /v1/ingest/DATASET with `Authorization: Bearer TOKEN`. The answer comes when every record is in Kafka
    (acks=all) or, while Kafka is away, on disk. See also /ready, /metrics and /openapi.json.
    """
    from pipelines.gateway.serve import Address, run

    configure_logging()
    settings = Settings.load()
    limits = Limits(
        body_bytes=body_mb * 2**20,
        batch_records=batch_records,
        in_flight_bytes=max(64, 2 * body_mb) * 2**20,
        spool_bytes=spool_mb * 2**20,
    )
    run(settings, registry_of(settings), Address(host, port, tls_cert, tls_key, behind_proxy), limits)


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
                *(first if number == 0 else [""] * 5), token.token_id, token.state(now), token.expires_at[:10]
            )
    _console.print(table)


@token_app.command("revoke")
def revoke(
    source: Annotated[str, typer.Argument(help="Name of the sender.")],
    token_id: Annotated[
        str | None, typer.Option("--token", help="One token of it (see `token list`); default: all.")
    ] = None,
) -> None:
    """End tokens of a source at once: a running gateway needs no restart."""
    ended = sources.revoke(Settings.load(), source, token_id)
    if not ended:
        raise LakeError(f"{source} has no token that is not revoked already.", "See `lake gateway token list`.")
    typer.echo(f"Đã thu hồi / revoked: {', '.join(ended)}")
