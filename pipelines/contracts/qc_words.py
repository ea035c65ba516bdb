"""The quality tests of a stream in words, one sentence for each limit, in its two languages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.contracts import durations, qc
from pipelines.contracts.model import (
    AttenuatedSignal,
    Bound,
    Climatology,
    ContractField,
    Dataset,
    FlatLine,
    Lasting,
    Neighbour,
    QcTest,
    Range,
    RateOfChange,
    Spike,
    Text,
    Windowed,
)
from pipelines.contracts.registry import Registry
from pipelines.contracts.words import limits


@dataclass(frozen=True)
class Said:
    """One test in words: ``field`` is None for a test of the whole row."""

    test: str
    field: str | None
    text: Text


def sentences(dataset: Dataset, registry: Registry) -> Iterator[Said]:
    """What becomes of a streamed value in every test that the contract declares, the range of its fields first.

    Raises:
        KeyError: a code list of limits does not exist.
    """
    if dataset.stream is None:
        return
    for item in dataset.fields:
        if (item.minimum, item.maximum) != (None, None) and item.name not in dataset.key:
            yield Said("range", item.name, _flag(limits(item, item.minimum, item.maximum), 4))
    if dataset.qc.gap:
        gap = Text(vi="Khoảng trống giữa hai lần đo", en="The time between two readings")
        said = _lasting(gap, ("hơn", "more than"), dataset.qc.gap)
        yield Said("gap", None, _marked(said, dataset.qc.gap))
    for test, name, declared in dataset.qc.by_field():
        item = dataset.field(name)
        for text in _of(item, declared):
            yield Said(test, name, _marked(text, declared))
        own = [one.entity for one in qc.entity_limits(dataset, registry, test) if one.field == name]
        if own:
            among = ", ".join(own)
            yield Said(
                test,
                name,
                Text(
                    vi=f"{item.title.vi}: giới hạn riêng trong danh mục {dataset.qc.limits} ({among})",
                    en=f"{item.title.en}: limits of their own in the code list {dataset.qc.limits} ({among})",
                ),
            )


def _of(item: ContractField, test: QcTest) -> Iterator[Text]:
    """The sentences of one test of one field."""
    match test:
        case Range():
            said = limits(item, *test.suspect)
            yield _flag(Text(vi=f"{said.vi} (thông thường)", en=f"{said.en} (usual)"), 3)
            if test.fail:
                yield _flag(limits(item, *test.fail), 4)
        case Climatology():
            yield Text(
                vi=f"{item.title.vi} trong giới hạn của mùa theo danh mục {test.limits}; ngoài giới hạn: qc_flag = 3",
                en=f"{item.title.en} within the limits of its season ({test.limits}); outside, qc_flag is 3",
            )
        case Spike():
            over = Text(
                vi=f"{item.title.vi} lệch khỏi trung vị của {durations.words(test.window).vi} trước",
                en=f"{item.title.en} differs from the median of the {durations.words(test.window).en} before",
            )
            yield _bounded(over, ("hơn", "by more than"), item.unit, test)
        case RateOfChange():
            over = Text(vi=f"{item.title.vi} thay đổi mỗi giờ", en=f"{item.title.en} changes in an hour")
            yield _bounded(over, ("hơn", "by more than"), item.unit, test)
        case FlatLine():
            yield _lasting(_still(item, test), ("từ", "from"), test)
        case AttenuatedSignal():
            within = durations.words(test.window)
            under = Text(
                vi=f"{item.title.vi} dao động trong {within.vi}", en=f"{item.title.en} varies within {within.en}"
            )
            yield _bounded(under, ("ít hơn", "by less than"), item.unit, test)
        case Neighbour():
            yield _compared(item, test)


def _still(item: ContractField, test: FlatLine) -> Text:
    exempt = ", ".join(f"{value:f}" for value in test.exempt)
    vi = f"{item.title.vi} đứng yên" + (f" (±{test.tolerance:f})" if test.tolerance else "")
    en = f"{item.title.en} stays the same" + (f" (±{test.tolerance:f})" if test.tolerance else "")
    return Text(vi=vi + (f", trừ {exempt}" if exempt else ""), en=en + (f", except {exempt}" if exempt else ""))


def _compared(item: ContractField, test: Neighbour) -> Text:
    within = durations.words(test.window)
    what = {"sum": ("tổng", "sum"), "change": ("mức thay đổi", "change")}[test.statistic]
    bounds = [("<", test.low, "−"), (">", test.high, "+")]
    said = " / ".join(f"{sign} {_bound(bound, margin, item.unit)}" for sign, bound, margin in bounds if bound)
    return Text(
        vi=f"{item.title.vi}: {what[0]} trong {within.vi} so với trung vị N của trạm lân cận ({test.neighbours}); "
        f"{said}: nghi ngờ (3), tính khi chốt số liệu",
        en=f"{item.title.en}: its {what[1]} within {within.en} against the median N of the neighbours "
        f"({test.neighbours}); {said}: suspect (3), computed when data are settled",
    )


def _bound(bound: Bound, margin: str, unit: str | None) -> str:
    return f"{bound.factor:f} × N {margin} {bound.margin:f}{f' {unit}' if unit else ''}"


def _flag(text: Text, flag: int) -> Text:
    return Text(vi=f"{text.vi}; ngoài giới hạn: qc_flag = {flag}", en=f"{text.en}; outside, qc_flag is {flag}")


def _lasting(text: Text, word: tuple[str, str], test: Lasting) -> Text:
    given = [(durations.words(value), flag) for value, flag in ((test.suspect, 3), (test.fail, 4)) if value]
    return Text(
        vi=f"{text.vi}: {', '.join(f'{word[0]} {value.vi}: qc_flag = {flag}' for value, flag in given)}",
        en=f"{text.en}: {', '.join(f'{word[1]} {value.en}, qc_flag is {flag}' for value, flag in given)}",
    )


def _bounded(text: Text, word: tuple[str, str], unit: str | None, test: Windowed) -> Text:
    measured = f" {unit}" if unit else ""
    given = [(f"{value:f}{measured}", flag) for value, flag in ((test.suspect, 3), (test.fail, 4)) if value]
    return Text(
        vi=f"{text.vi}: {', '.join(f'{word[0]} {value}: qc_flag = {flag}' for value, flag in given)}",
        en=f"{text.en}: {', '.join(f'{word[1]} {value}, qc_flag is {flag}' for value, flag in given)}",
    )


def _marked(text: Text, test: QcTest) -> Text:
    """Say where limits are nobody's but ours."""
    if test.status == "verified":
        return text
    return Text(vi=f"{text.vi} (chưa kiểm chứng)", en=f"{text.en} (unverified)")
