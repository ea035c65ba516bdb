"""`lake scenarios …`: what the city is told of, switched and edited while the job runs, and tried on the past."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.commands.contracts import checked_registry
from pipelines.contracts.catalogue import agency
from pipelines.contracts.targets.scenario_rule import compile_rule
from pipelines.contracts.targets.scenarios import page
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.scenarios import publish as publishing
from pipelines.scenarios.dry_run import dry_run
from pipelines.scenarios.rules import RuleRecord, read_rules, wait_until_taken
from pipelines.scenarios.runs import acknowledge, runs

scenarios_app = typer.Typer(
    no_args_is_help=True,
    help="Kịch bản: điều thành phố muốn được báo. What is watched for: one file each in schemas/scenarios.",
)
Name = Annotated[str, typer.Argument(help="Id of the scenario, for example river_alarm_two.")]
By = Annotated[str, typer.Option("--by", help="Account of whoever decides; it is logged in scenario_change.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until the job has taken it in; 0: do not.")]
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_console = Console(soft_wrap=True, highlight=False)


@scenarios_app.command("list")
def list_scenarios(as_json: Annotated[bool, typer.Option("--json", help="Print JSON; times in UTC.")] = False) -> None:
    """List the scenarios: on or off, whether the job judges by what the file says, and how many runs are open."""
    settings = Settings.load()
    registry = registry_of(settings)
    known = read_rules(settings)
    still_open = Counter(row["scenario_id"] for row in runs(settings, open_only=True))
    rows = []
    for scenario in registry.scenarios:
        record = known.get(scenario.id)
        rows.append(
            {
                "scenario": scenario.id,
                "title": scenario.title.vi,
                "agency": scenario.owner,
                "severity": scenario.severity,
                "state": _state(record),
                "as_the_file": record is not None
                and record.content_hash == compile_rule(scenario, registry).content_hash,
                "changed_at": record.changed_at if record else None,
                "changed_by": record.changed_by if record else None,
                "open_runs": still_open[scenario.id],
            }
        )
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table("mã", "tên", "cơ quan", "mức", "trạng thái", "như tệp", "đang chạy", title="Kịch bản — scenarios")
    for row in rows:
        as_file = "✓" if row["as_the_file"] else "✗"
        cells = (row["scenario"], row["title"], row["agency"], row["severity"], row["state"], as_file, row["open_runs"])
        table.add_row(*(str(cell) for cell in cells))
    table.columns[0].no_wrap = True
    _console.print(table)
    if not all(row["as_the_file"] for row in rows):
        _console.print("✗ công việc chưa biết bản này — the job does not know it so: lake scenarios publish --by …")


def _state(record: RuleRecord | None) -> str:
    if record is None or record.change_kind == "removed":
        return "chưa công bố (not published)"
    return "bật (on)" if record.enabled else "tắt (off)"


@scenarios_app.command()
def show(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print the compiled rule, as the job reads it.")] = False,
) -> None:
    """Show one scenario in words, since when it is in force, and its newest runs."""
    settings = Settings.load()
    registry = registry_of(settings)
    scenario = publishing.find(registry, name)
    compiled = compile_rule(scenario, registry)
    if as_json:
        print(json.dumps(compiled.rule, ensure_ascii=False, indent=2))
        return
    for part in page(scenario, registry):
        _console.print(part, markup=False)
    record = read_rules(settings).get(name)
    _console.print(f"\n{_state(record)}, {agency(scenario.owner, registry).vi}", markup=False)
    if record:
        same = "như tệp (as the file)" if record.content_hash == compiled.content_hash else "khác tệp (not as the file)"
        _console.print(f"  {record.change_kind} {record.changed_at} {record.changed_by} @ {record.offset}, {same}")
        for dataset, clock in record.effective.items():
            _console.print(f"  {dataset}: từ (after) {clock or 'đầu (the beginning)'}")
    for row in runs(settings, scenario=name)[-10:]:
        _console.print(f"  {_run(row)}", markup=False)


def _run(row: dict[str, object]) -> str:
    ended = row.get("ended_at")
    end = f"{_local(ended)} ({row.get('end_reason')})" if ended else "đang chạy (running)"
    return f"{_local(row['started_at'])} → {end}  {row['headline_vi']}  [{row['origin']}]"


def _local(moment: object) -> str:
    """A time for people: local, from a row of a table or of JSON."""
    at = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return at.astimezone(_LOCAL).strftime("%d/%m/%Y %H:%M:%S")


@scenarios_app.command()
def publish(by: By, wait: Wait = 15) -> None:
    """Bring the job to what the files say: new, edited and removed scenarios. What is on or off stays so."""
    settings = Settings.load()
    _told(settings, publishing.publish(settings, checked_registry(settings), by=by), wait)


@scenarios_app.command()
def enable(name: Name, by: By, wait: Wait = 15) -> None:
    """Switch a scenario on, as its file says it now; no job is restarted."""
    settings = Settings.load()
    _told(settings, publishing.switch(settings, checked_registry(settings), name, enabled=True, by=by), wait)


@scenarios_app.command()
def disable(name: Name, by: By, wait: Wait = 15) -> None:
    """Switch a scenario off; its open runs end with the reason rule_disabled."""
    settings = Settings.load()
    _told(settings, publishing.switch(settings, checked_registry(settings), name, enabled=False, by=by), wait)


def _told(settings: Settings, records: tuple[RuleRecord, ...], wait_s: float) -> None:
    for record in records:
        _console.print(f"{record.scenario}: {record.change_kind} @ {record.offset}")
    if not records:
        _console.print("Không có gì thay đổi. — Nothing to change.")
        return
    if wait_s:
        waiting = wait_until_taken(settings, records, wait_s)
        if waiting:
            names = ", ".join(record.scenario for record in waiting)
            raise LakeError(
                f"Luật đã ghi, nhưng sau {wait_s:.0f} s công việc scenarios chưa nhận: {names}.",
                "It counts as soon as the job reads it: see `lake jobs list`.",
            )
        _console.print("Công việc đã nhận, không khởi động lại. — The job has taken it in, without a restart.")


@scenarios_app.command("test")
def try_on_the_past(
    name: Name,
    begin: Annotated[str, typer.Option("--from", help="First event time, for example 2025-10-26 or 2025-10-26T12:00.")],
    end: Annotated[str, typer.Option("--to", help="Where it stops, exclusive; both are local times of Huế.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every row that would have been written.")] = False,
) -> None:
    """Try a scenario, as its file says it now, on the history in silver. Nothing is written; fails without data."""
    settings = Settings.load()
    registry = checked_registry(settings)
    scenario = publishing.find(registry, name)
    found = dry_run(settings, registry, scenario, _moment(begin, "--from"), _moment(end, "--to"))
    if as_json:
        print(json.dumps({"facts": found.facts, "rows": found.rows}, ensure_ascii=False, indent=2))
        return
    facts = ", ".join(f"{dataset} {count:,}" for dataset, count in found.facts.items())
    _console.print(f"{name}: {len(found.runs)} lượt chạy (runs); sự kiện đã xét (facts): {facts}")
    for row in found.runs:
        _console.print(f"  {_run(dict(row))}", markup=False)
    kinds = Counter(row["outcome_kind"] for row in found.rows.get("alert.scenario_outcome", ()))
    if kinds:
        _console.print("  → " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LakeError(
            f"{option} {text!r} không phải là thời điểm.", "Write 2025-10-26 or 2025-10-26T12:00."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=_LOCAL)).astimezone(UTC)


@scenarios_app.command()
def ack(
    run_id: Annotated[str, typer.Argument(help="The run, as `lake scenarios show` and scenario_run_v2 name it.")],
    agency_id: Annotated[str, typer.Option("--agency", help="Code of the agency that takes it in hand.")],
    by: Annotated[str, typer.Option("--by", help="Account of the unit; it is logged in scenario_outcome.")],
    note: Annotated[str, typer.Option("--note", help="What is being done; no personal data.")] = "",
) -> None:
    """Record that an agency has taken a run in hand; the first time counts."""
    settings = Settings.load()
    row = acknowledge(settings, registry_of(settings), run_id, agency=agency_id, by=by, note=note)
    _console.print(
        f"{row['agency_id']} tiếp nhận (acknowledged) {run_id} lúc {_local(row['outcome_at'])}", markup=False
    )
