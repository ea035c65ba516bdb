"""Documentation of the scenarios: one page with what each watches for, in words, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from pipelines.contracts.catalogue import agency
from pipelines.contracts.markdown import escape, joined, table
from pipelines.contracts.model import Text
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import markdown_file
from pipelines.contracts.scenario import (
    CITY,
    ENTITY,
    WARD,
    Absence,
    Action,
    Alert,
    CapDraft,
    Change,
    Delta,
    Form,
    Frozen,
    Operand,
    Scenario,
    Task,
    Threshold,
)
from pipelines.contracts.words import both

TARGET = "scenarios"
FOLDERS = ("docs/catalog",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

_SCOPES: Mapping[str, Text] = {
    ENTITY: Text(vi="từng thiết bị, sự kiện", en="each device or event"),
    WARD: Text(vi="từng phường, xã", en="each ward"),
    CITY: Text(vi="toàn thành phố", en="the whole city"),
}
_DIRECTIONS: Mapping[str, Text] = {
    "rise": Text(vi="tăng", en="has risen"),
    "fall": Text(vi="giảm", en="has fallen"),
    "either": Text(vi="tăng hoặc giảm", en="has risen or fallen"),
}
_ENDS: Mapping[str, Text] = {
    "recovery": Text(vi="khi số liệu cho thấy đã hết", en="when facts show the recovery"),
    "silence": Text(vi="khi không còn gì mới", en="when nothing more comes"),
}


def render(registry: Registry) -> Mapping[str, str]:
    """The one page, path relative to the project root → text; none when there are no scenarios."""
    if not registry.scenarios:
        return {}
    rows = [
        (
            f"[`{scenario.id}`](#{scenario.id})",
            escape(both(scenario.title)),
            f"{scenario.owner} {escape(agency(scenario.owner, registry).vi)}",
            escape(_code(registry, "severities", scenario.severity)),
            "bật · on" if scenario.enabled else "tắt · off",
            "chưa xác minh · unverified" if scenario.unverified else "",
        )
        for scenario in registry.scenarios
    ]
    parts = (
        "# Kịch bản · Scenarios",
        "Sinh ra từ `schemas/scenarios/`; cách viết và cách chạy: [docs/scenarios.md](../scenarios.md). «bật/tắt» là "
        "trạng thái ban đầu, người vận hành đổi bằng `lake scenarios`. — Generated from `schemas/scenarios/`; how to "
        "write and run them: [docs/scenarios.md](../scenarios.md). On and off is how each begins; operators switch it "
        "with `lake scenarios`.",
        table(
            (
                "mã · id",
                "tên · title",
                "cơ quan · agency",
                "mức · severity",
                "ban đầu · at first",
                "tình trạng · status",
            ),
            rows,
        ),
        *(part for scenario in registry.scenarios for part in page(scenario, registry)),
    )
    return {"docs/catalog/scenarios.md": markdown_file(joined(parts))}


def page(scenario: Scenario, registry: Registry) -> Iterator[str]:
    """One scenario in words, as Markdown: a heading, its title, its description and a list."""
    yield f"## {scenario.id}"
    yield f"**{escape(both(scenario.title))}** · {', '.join(scenario.clauses)}"
    yield escape(both(scenario.description))
    lines = [f"- {key}: {value}" for key, value in _facts(scenario, registry)]
    lines += [f"- {both(_form(form))}" for form in scenario.trigger.conditions]
    lines += [f"- → {escape(both(_action(action, registry)))}" for action in scenario.actions]
    lines += [f"- chưa xác minh · unverified: {escape(text)}" for text in scenario.unverified]
    yield "\n".join(lines)


def _facts(scenario: Scenario, registry: Registry) -> Iterator[tuple[str, str]]:
    yield "loại · kind", escape(_code(registry, "scenario_kinds", scenario.kind))
    scope = _SCOPES.get(scenario.scope.by)
    limited = f": {', '.join(scenario.scope.only)}" if scenario.scope.only else ""
    yield "xét theo · told by", (both(scope) if scope else f"`{scenario.scope.by}`") + limited
    trigger = scenario.trigger
    if len(trigger.conditions) > 1:
        of = Text(vi="tất cả", en="all") if trigger.of == "all" else Text(vi="bất kỳ", en="any")
        yield "điều kiện · conditions", both(of)
    if trigger.within:
        yield "trong khoảng · within", period(trigger.within)
    if scenario.hold:
        yield "kéo dài ít nhất · must hold", period(scenario.hold)
    yield "kết thúc · ends", f"{both(_ENDS[scenario.clear.on])}, {period(scenario.clear.after)}"
    if scenario.cool_down:
        yield "nghỉ sau khi kết thúc · cool-down", period(scenario.cool_down)


def _code(registry: Registry, code_list: str, code: str) -> str:
    rows = {row["code"]: row for row in registry.code_list(code_list).rows}
    return f"{rows[code]['name_vi']} — {rows[code]['name_en']}"


def period(value: timedelta) -> str:
    """A duration as the files write it: ``90 min``, ``3 h``, ``2 d``."""
    seconds = int(value.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _form(form: Form) -> Text:
    field = f"`{form.dataset}.{form.field}`" if not isinstance(form, Absence) else f"`{form.dataset}`"
    said = _said(form, field)
    if form.where:
        listed = ", ".join(f"`{name}` = {_words(values)}" for name, values in form.where.items())
        said = Text(vi=f"{said.vi}, với {listed}", en=f"{said.en}, where {listed}")
    if form.at_least > 1:
        said = Text(vi=f"{said.vi}, ở ít nhất {form.at_least} nơi", en=f"{said.en}, of at least {form.at_least}")
    return said


def _said(form: Form, field: str) -> Text:
    match form:
        case Threshold():
            until_vi = f", đến khi qua {_word(form.clear_value)}" if form.clear_value is not None else ""
            until_en = f", until it passes {_word(form.clear_value)}" if form.clear_value is not None else ""
            said = f"{field} {escape(form.operator)} {_words(form.value)}"
            return Text(vi=said + until_vi, en=said + until_en)
        case Change():
            vi = (f" từ {_words(form.before)}" if form.before else "") + (f" sang {_words(form.to)}" if form.to else "")
            en = (f" from {_words(form.before)}" if form.before else "") + (f" to {_words(form.to)}" if form.to else "")
            return Text(vi=f"{field} đổi{vi}", en=f"{field} changes{en}")
        case Delta():
            way, over = _DIRECTIONS[form.direction], period(form.over)
            amount = _word(form.amount)
            return Text(vi=f"{field} {way.vi} {amount} trong {over}", en=f"{field} {way.en} by {amount} within {over}")
        case Frozen():
            length, moved = period(form.period), _word(form.tolerance)
            return Text(
                vi=f"{field} đứng yên {length} (đổi không quá {moved})",
                en=f"{field} stands still for {length} (± {moved})",
            )
        case Absence():
            length = period(form.period)
            return Text(vi=f"{field} không có tin mới trong {length}", en=f"nothing of {field} for {length}")


def _words(values: tuple[Operand, ...]) -> str:
    return " | ".join(_word(value) for value in values).replace("|", "\\|")


def _word(value: Operand) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _action(action: Action, registry: Registry) -> Text:
    match action:
        case Alert():
            return Text(vi="phát cảnh báo", en="alert")
        case CapDraft():
            return Text(
                vi=f"yêu cầu soạn bản tin CAP «{action.event.vi}»", en=f"ask for a CAP draft “{action.event.en}”"
            )
        case Task():
            name, due = agency(action.agency, registry), period(action.due)
            return Text(
                vi=f"giao {name.vi}: {action.title.vi}, trong {due}",
                en=f"task for {name.en}: {action.title.en}, within {due}",
            )
