"""Row constraints of a contract, compiled to Arrow masks: a failing row goes to quarantine, whole and with its reason.

Streams: known keys, required fields, code lists (a valid range is a QC flag there). Sector tables besides: ranges and
the row rules of ``quality``. NULL passes every constraint but ``required``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.contracts import system
from pipelines.contracts.model import Comparison, ContractField, Dataset, Pattern, RequiredTogether
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.landing.arrow import Column, Int64s, bools, keep, nulls, repeat, take
from pipelines.landing.arrow import kernels as pc

Encrypt = Callable[[bytes], bytes]
"""Encrypts bytes to an ASCII token, such as ``Fernet.encrypt``."""

_COMPARE: dict[str, Callable[[Column, Column], Column]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_SHOWN_CODES = 12


@dataclass(frozen=True)
class Check:
    """One constraint: `failing` gives TRUE for each row that violates it; `fields` are shown in the detail."""

    reason: str
    fields: tuple[str, ...]
    allowed: str
    failing: Callable[[pa.Table], Column]


@dataclass(frozen=True)
class Checked:
    """`ok` rows in order, and the `failed` ones (:data:`system.QUARANTINE` columns, `positions` in the batch)."""

    ok: pa.Table
    failed: pa.Table
    positions: Int64s


def compile_checks(registry: Registry, dataset: Dataset) -> tuple[Check, ...]:
    """The constraints of a contract in the order in which a row is judged: the first that fails is its reason."""
    checks: list[Check] = []
    required = dict.fromkeys((*dataset.key, *(f.name for f in dataset.fields if f.required)))
    checks += [_required(name) for name in required]
    checks += [_code_list(registry, field) for field in dataset.fields if field.code_list]
    if dataset.sector:
        checks += [_range(f) for f in dataset.fields if f.minimum is not None or f.maximum is not None]
        checks += [_comparison(rule) for rule in dataset.quality if isinstance(rule, Comparison)]
        checks += [_required_when(rule) for rule in dataset.quality if isinstance(rule, RequiredTogether)]
        checks += [_pattern(rule) for rule in dataset.quality if isinstance(rule, Pattern)]
    return tuple(checks)


def check_rows(dataset: Dataset, checks: Sequence[Check], batch: pa.Table, encrypt: Encrypt | None) -> Checked:
    """Part a batch into rows that may land and rows for quarantine.

    `encrypt` is needed for protected datasets: their quarantined rows are stored encrypted.

    Raises:
        ValueError: a protected dataset without `encrypt`.
    """
    if dataset.is_protected and encrypt is None:
        raise ValueError(f"{dataset.id} is {dataset.classification}: quarantine needs a key to encrypt its rows")
    reasons = np.full(batch.num_rows, -1, dtype=np.int16)
    for number, check in enumerate(checks):
        mask = check.failing(batch)
        if not pc.any(mask, min_count=0).as_py():
            continue
        reasons[(reasons < 0) & bools(mask)] = number
    positions = np.flatnonzero(reasons >= 0)
    if not len(positions):
        return Checked(batch, quarantine_schema().empty_table(), positions)
    ok = keep(batch, reasons < 0)
    failed = _quarantine(dataset, checks, take(batch, positions), reasons[reasons >= 0].tolist(), encrypt)
    return Checked(ok, failed, positions)


def quarantine_schema() -> pa.Schema:
    """The Arrow schema of ``quality.quarantine``."""
    return delta.system_schema(system.QUARANTINE)


def _quarantine(
    dataset: Dataset, checks: Sequence[Check], rows: pa.Table, numbers: Sequence[int], encrypt: Encrypt | None
) -> pa.Table:
    # Quarantined rows are few; they are the one place where rows are handled one by one.
    own = [name for name in rows.column_names if not name.startswith("_")]
    texts = []
    details = []
    for row, number in zip(rows.select(own).to_pylist(), numbers, strict=True):
        text = json.dumps(row, ensure_ascii=False, default=str, separators=(",", ":"))
        texts.append(encrypt(text.encode()).decode("ascii") if dataset.is_protected and encrypt else text)
        check = checks[number]
        # The value of a protected row is in its encrypted JSON only.
        values = "" if dataset.is_protected else ", ".join(f"{name}={row[name]}" for name in check.fields) + "; "
        details.append(f"{values}allowed: {check.allowed}")
    count = rows.num_rows

    def column(name: str, kind: pa.DataType) -> Column:
        return rows[name].cast(kind) if name in rows.column_names else nulls(count, kind)

    return pa.table(
        {
            "dataset": repeat(dataset.id, count, pa.string()),
            "raw_partition": column("raw_partition", pa.int32()),
            "raw_offset": column("raw_offset", pa.int64()),
            "received_at": column("received_at", pa.timestamp("us", tz="UTC")),
            "reason": pa.array([checks[n].reason for n in numbers], pa.string()),
            "detail": pa.array(details, pa.string()),
            "row_json": pa.array(texts, pa.string()),
        },
        schema=quarantine_schema(),
    )


def _required(name: str) -> Check:
    return Check(f"required:{name}", (name,), "a value", lambda t: pc.is_null(t[name]))


def _code_list(registry: Registry, field: ContractField) -> Check:
    code_list = registry.code_list(str(field.code_list))
    codes = pa.array(code_list.codes, pa.string())
    shown = ", ".join(code_list.codes[:_SHOWN_CODES])
    more = f" and {len(codes) - _SHOWN_CODES} more" if len(codes) > _SHOWN_CODES else ""
    is_text = field.type.name == "string"

    def failing(table: pa.Table) -> Column:
        column = table[field.name]
        text = column if is_text else column.cast(pa.string())
        return pc.and_(pc.is_valid(text), pc.invert(pc.is_in(text, value_set=codes)))

    return Check(f"code_list:{field.name}", (field.name,), f"{code_list.id}: {shown}{more}", failing)


def _range(field: ContractField) -> Check:
    low, high = field.minimum, field.maximum
    kind = pa.float64() if field.type.name == "double" else pa.decimal128(38, 12)
    lowest = None if low is None else pa.scalar(float(low) if field.type.name == "double" else low, kind)
    highest = None if high is None else pa.scalar(float(high) if field.type.name == "double" else high, kind)

    def failing(table: pa.Table) -> Column:
        column = table[field.name].cast(kind)
        inside: list[Column] = []
        if lowest is not None:
            inside.append(pc.greater_equal(column, lowest))
        if highest is not None:
            inside.append(pc.less_equal(column, highest))
        # NaN compares false to both limits, and so is outside.
        both = pc.and_(*inside) if len(inside) == 2 else inside[0]
        return pc.invert(both)

    allowed = f"{'-∞' if low is None else low} … {'∞' if high is None else high}"
    return Check(f"range:{field.name}", (field.name,), allowed, failing)


def _comparison(rule: Comparison) -> Check:
    compare = _COMPARE[rule.operator]

    def failing(table: pa.Table) -> Column:
        left, right = table[rule.left], table[rule.right]
        if left.type != right.type:
            left, right = left.cast(pa.timestamp("us", tz="UTC")), right.cast(pa.timestamp("us", tz="UTC"))
        return pc.invert(compare(left, right))

    sentence = f"{rule.left}{rule.operator}{rule.right}"
    return Check(f"comparison:{sentence}", (rule.left, rule.right), sentence, failing)


def _required_when(rule: RequiredTogether) -> Check:
    def failing(table: pa.Table) -> Column:
        matches = pc.equal(table[rule.when].cast(pa.string()), rule.equals)
        return pc.and_(pc.is_null(table[rule.field]), pc.fill_null(matches, False))

    sentence = f"{rule.field} when {rule.when}={rule.equals}"
    return Check(f"required_when:{rule.field}", (rule.field, rule.when), sentence, failing)


def _pattern(rule: Pattern) -> Check:
    def failing(table: pa.Table) -> Column:
        matches = pc.match_substring_regex(table[rule.field].cast(pa.string()), pattern=rule.whole)
        return pc.fill_null(pc.invert(matches), False)

    return Check(f"pattern:{rule.field}", (rule.field,), f"{rule.field} matches {rule.pattern}", failing)
