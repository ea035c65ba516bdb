"""`lake quality …`: what was judged, and the decisions of the stewards."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from pipelines.contracts.targets.great_expectations import suite
from pipelines.quality import report as reports
from pipelines.quality import store
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

quality_app = typer.Typer(
    no_args_is_help=True, help="Kết luận chất lượng và quyết định. Verdicts and decisions of the data stewards."
)
_console = Console()


@quality_app.command()
def report(
    layer: Annotated[str | None, typer.Option("--layer", help="Only silver, or only gold.")] = None,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Only this run; default: the newest verdict.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; times in UTC.")] = False,
) -> None:
    """Print the newest verdict of every dataset and what did not hold."""
    found = reports.entries(Settings.load(), layer, run_id)
    if as_json:
        typer.echo(json.dumps(reports.to_json(found), ensure_ascii=False, indent=1))
    elif found:
        _console.print(reports.table(found))
    else:
        _console.print("Chưa có kết luận nào. — No verdict yet: `lake run verdict silver --run-id …`.")


@quality_app.command()
def waive(
    dataset: Annotated[str, typer.Argument(help="The dataset, for example road_asset.")],
    rule: Annotated[
        str, typer.Option("--rule", help="The rule as the report names it, for example asset_id.required.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why the data may be published all the same.")],
    until: Annotated[str, typer.Option("--until", help="The last day (YYYY-MM-DD, UTC) on which this holds.")],
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
) -> None:
    """Accept that a rule is broken, for a reason and a time; judge and publish the run again afterwards."""
    settings = Settings.load()
    registry = registry_of(settings)
    try:
        rules = [item.rule for item in suite(registry.dataset(dataset), registry).expectations]
    except KeyError as error:
        raise LakeError(f"Không có bộ dữ liệu {dataset!r}.", str(error.args[0])) from None
    if rule not in rules:
        raise LakeError(f"{dataset} không có quy tắc {rule!r}.", f"Rules: {', '.join(rules)}.")
    try:
        day = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise LakeError(f"--until {until!r} không phải là ngày.", "Write it as YYYY-MM-DD.") from None
    decision = store.waive(settings, dataset=dataset, rule=rule, reason=reason, until=day, by=by)
    _console.print(
        f"Đã ghi quyết định {decision.decision_id[:8]}: {dataset} được chấp nhận vi phạm {rule} đến hết "
        f"{day.strftime('%d/%m/%Y')} (UTC). Hãy kết luận và công bố lại lượt chạy.",
        highlight=False,
        soft_wrap=True,
    )
