"""An expectation of Great Expectations' own making kit: one Spark aggregate of a table lies between two limits.

The library asks one query per rule wherever a rule compares two columns, looks for duplicates or brings its own SQL:
eight Spark jobs for a table of ordinary rules. A metric that declares itself an aggregate is bundled with the
library's other counts into one pass over the table instead, so those rules are written as measures
(contracts/targets/great_expectations.py): ``count_if(…)`` of broken rows, rows less distinct keys, a share.

Importing this module registers both classes with the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.execution_engine import ExecutionEngine, SparkDFExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_partial
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.validator.metric_configuration import MetricConfiguration

_METRIC = "table.measure"


class TableMeasure(TableMetricProvider):  # type: ignore[misc]
    """The value of one Spark SQL aggregate expression over the whole table, from the shared pass."""

    metric_name = _METRIC
    value_keys = ("measure", "columns")

    @metric_partial(  # type: ignore[untyped-decorator]
        engine=SparkDFExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
        domain_type=MetricDomainTypes.TABLE,
    )
    def _spark(
        cls,  # the library makes a class method of it
        execution_engine: ExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """The aggregate; a column that the table lacks is this rule's failure and not that of the whole pass."""
        from pyspark.sql import functions

        missing = sorted(set(metric_value_kwargs["columns"]) - set(metrics["table.columns"]))
        if missing:
            raise ValueError(f"The table has no column {', '.join(missing)}.")
        return functions.expr(metric_value_kwargs["measure"]), metric_domain_kwargs, {}

    @classmethod
    def _get_evaluation_dependencies(
        cls,
        metric: MetricConfiguration,
        configuration: Any = None,
        execution_engine: ExecutionEngine | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> dict[str, MetricConfiguration]:
        needed: dict[str, MetricConfiguration] = super()._get_evaluation_dependencies(
            metric, configuration, execution_engine, runtime_configuration
        )
        needed["table.columns"] = MetricConfiguration("table.columns", metric.metric_domain_kwargs)
        return needed


class ExpectMeasureToBeBetween(BatchExpectation):  # type: ignore[misc]
    """Succeeds when the measure is within both limits, or NULL: there was nothing to measure.

    ``measure`` is a Spark SQL aggregate expression, ``columns`` are those that it reads.
    """

    measure: str
    columns: list[str]
    min_value: float | None = None
    max_value: float | None = None

    metric_dependencies: ClassVar[tuple[str, ...]] = (_METRIC,)
    success_keys: ClassVar[tuple[str, ...]] = ("measure", "columns", "min_value", "max_value")
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _validate(
        self,
        metrics: Mapping[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine | None = None,
    ) -> dict[str, Any]:
        value = metrics[_METRIC]
        is_within = value is None or (
            (self.min_value is None or value >= self.min_value) and (self.max_value is None or value <= self.max_value)
        )
        return {"success": is_within, "result": {"observed_value": value}}
