"""Great Expectations at work: one suite on one Spark Connect DataFrame.

The library judges in one pass over the table and says no more than yes or no: asked for counts, it runs a Spark job for
each rule (2.8 s a table, 0.5 s without). What a person wants to see is counted here in a second pass: how many rows the
table has, and how many of them break a rule that failed or that allows some.

Traps that are handled here: a missing column does not raise but hides in ``exception_info``; results come in another
order than the suite; sampled values would carry personal data, so none are asked for and the gate samples keys itself.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipelines.contracts.model import Dataset
from pipelines.contracts.targets.great_expectations import COLUMNS, MEASURE, ROW_COUNT, Expectation, Suite
from pipelines.quality.model import RuleResult

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SAMPLE_LIMIT = 20
_RESULT_FORMAT = {"result_format": "BOOLEAN_ONLY"}
_PROBLEM_LENGTH = 300


class Checker:
    """Runs suites in one ephemeral context; make one per process, because the library takes seconds to load."""

    def __init__(self) -> None:
        """Load the library without analytics, progress bars and its narration."""
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"great_expectations\..*")
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        # Tells the library of our own expectation.
        import pipelines.quality.measure  # noqa: F401

        self._gx = gx
        self._context = gx.get_context(mode="ephemeral")
        self._context.enable_analytics(False)
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self._source = self._context.data_sources.add_spark("lake")

    def check(self, dataset: Dataset, suite: Suite, frame: DataFrame, row_count: int | None = None) -> list[RuleResult]:
        """Check every rule of ``suite`` on ``frame``; results in the order of the suite.

        A rule that cannot be evaluated (its column is missing) has failed. At most 20 keys are sampled of every
        failed row rule. With ``row_count``, what the table's log says, a table that keeps every rule is not counted.
        """
        verdicts = self.verdicts(suite, frame)
        judged = [(item, *verdicts[item.rule]) for item in suite.expectations]
        wanted = [item for item, success, problem in judged if problem is None and _wants(item, success)]
        if row_count is None or any(item.rule != ROW_COUNT for item in wanted):
            counts = _counts(frame, wanted)
        else:
            counts = {ROW_COUNT: row_count}
        return [_result(dataset, item, success, problem, counts, frame) for item, success, problem in judged]

    def verdicts(self, suite: Suite, frame: DataFrame) -> dict[str, tuple[bool, str | None]]:
        """Rule id → whether it holds, and why it could not be evaluated: the library's one pass, without figures."""
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        name = f"{suite.layer}.{suite.dataset}"
        asset = self._source.add_dataframe_asset(name)
        try:
            definition = asset.add_batch_definition_whole_dataframe("version")
            # Severity is judged by our own gate: the library fails on warnings too. All at once: added one by one, a
            # second expectation of the same kind on the same columns would silently take the place of the first.
            expectations = self._gx.ExpectationSuite(
                name=name,
                expectations=[
                    ExpectationConfiguration(type=item.type, kwargs=dict(item.kwargs), meta={"rule": item.rule})
                    for item in suite.expectations
                ],
            )
            outcome = definition.get_batch({"dataframe": frame}).validate(expectations, result_format=_RESULT_FORMAT)
        finally:
            self._source.delete_asset(name)
        found = {_rule(result): result for result in outcome.results}
        return {item.rule: _judged(found.get(item.rule)) for item in suite.expectations}


def _judged(found: Any) -> tuple[bool, str | None]:
    """Whether a rule holds, and why it could not be evaluated."""
    if found is None:
        return False, "the library gave no result"
    problem = _problem(found.exception_info or {})
    return problem is None and bool(found.success), problem


def _wants(item: Expectation, success: bool) -> bool:
    """Whether a person wants a figure beside the verdict of this rule."""
    return not success or "mostly" in item.kwargs or item.rule == ROW_COUNT


def _counts(frame: DataFrame, items: Sequence[Expectation]) -> Mapping[str, int | float | Decimal | None]:
    """The figure of each of ``items`` from one pass: rows that break a row rule, else the measure; and ROW_COUNT."""
    from pyspark.sql import functions

    # Windows (who else has this key?) stand in no aggregate: whether a row breaks a rule is a column first.
    broken = {f"_breaks_{n}": item for n, item in enumerate(items) if item.breaks is not None}
    marked = frame.select("*", *(functions.expr(str(item.breaks)).alias(name) for name, item in broken.items()))
    wanted = {item.rule: functions.count_if(name) for name, item in broken.items()}
    wanted |= {i.rule: functions.expr(i.kwargs["measure"]) for i in items if i.type == MEASURE and i.breaks is None}
    wanted[ROW_COUNT] = functions.count(functions.lit(1))
    (row,) = marked.agg(*(column.alias(rule) for rule, column in wanted.items())).collect()
    counted: dict[str, int | float | Decimal | None] = row.asDict()
    return counted


def _result(
    dataset: Dataset,
    item: Expectation,
    success: bool,
    problem: str | None,
    counts: Mapping[str, int | float | Decimal | None],
    frame: DataFrame,
) -> RuleResult:
    """What a person reads of one rule. A row rule that holds without exception was not counted: none break it."""
    broken: int | None = None
    observed: str | None = None
    samples: tuple[str, ...] = ()
    if problem is not None:
        # A message of the engine may quote a value.
        problem = "the rule could not be evaluated" if dataset.is_protected else problem
    elif item.breaks is not None:
        broken = int(counts.get(item.rule) or 0)
        samples = () if success else sample_keys(dataset, item.breaks, frame)
    elif item.rule == COLUMNS:
        observed = None if success else ", ".join(frame.columns)
    elif (figure := counts.get(item.rule)) is not None:
        observed = str(figure)
    return RuleResult(
        rule=item.rule,
        severity=item.severity,
        success=success,
        text_vi=item.text.vi,
        text_en=item.text.en,
        checked_count=None if broken is None else int(counts[ROW_COUNT] or 0),
        broken_count=broken,
        observed=observed,
        problem=problem,
        sample_keys=samples,
    )


def sample_keys(dataset: Dataset, breaks: str, frame: DataFrame) -> tuple[str, ...]:
    """The keys of at most 20 rows for which ``breaks`` is true, as JSON objects; times in UTC.

    Personal key columns are left out; without any other key column nothing is sampled.
    """
    from pyspark.sql import functions

    columns = [
        name
        for name in dataset.key
        if dataset.field(name).classification not in {"personal", "sensitive"} and name in frame.columns
    ]
    if not columns:
        return ()
    broken = frame.withColumn("_breaks", functions.expr(breaks)).where("_breaks")
    rows = broken.select(functions.to_json(functions.struct(*columns)).alias("key")).limit(SAMPLE_LIMIT).collect()
    return tuple(str(row["key"]) for row in rows)


def _rule(result: Any) -> str:
    return str(result.expectation_config.meta["rule"])


def _problem(info: Mapping[str, Any]) -> str | None:
    """The first exception in one of the two shapes that the library reports: flat, or one entry per metric."""
    entries = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, Mapping)]
    for entry in entries:
        if entry.get("raised_exception"):
            return " ".join(str(entry.get("exception_message") or "unknown error").split())[:_PROBLEM_LENGTH]
    return None
