"""Sessions of the Spark Connect server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.servers.spark import NAME
from pipelines.runtime.services import endpoints, running
from pipelines.runtime.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


FEW_ROWS = 10_000
"""Up to so many in each table plans are not compiled, which takes longer than to run them as they are: all marts with
their tests, over tables of up to 4,700 rows, cost Spark 82 CPU seconds instead of 112."""
_INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


def session(settings: Settings) -> "SparkSession":
    """Return a new session of the running server; end it with `stop()`, which leaves the server running.

    Its time zone is UTC. Raises ServiceError when Spark is down.
    """
    remote = endpoints(settings).spark_remote
    # The builder of pyspark.sql, not that of its connect package: only it makes pyspark.sql.functions speak to a
    # remote server, which the quality gate and its library rely on.
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(remote).create()


@contextmanager
def interpreted(spark: "SparkSession") -> "Iterator[SparkSession]":
    """The session, while it compiles no plan: for tables of :data:`FEW_ROWS`."""
    for name, value in _INTERPRETED.items():
        spark.conf.set(name, value)
    try:
        yield spark
    finally:
        for name in _INTERPRETED:
            spark.conf.unset(name)


@contextmanager
def unbroken(settings: Settings) -> Iterator[None]:
    """Hold what is asked of Spark within to one process of the server.

    When the server dies its clients say what they like: that there is no session, that a table is not there, or, where
    a library catches errors, that a rule was broken. What came of it is no result then, even if nothing was raised.

    Raises:
        ServiceError: the server was replaced, or is gone.
    """
    before = _process(settings)
    remedy = "It is started again by itself; run the step once more (see `lake status`)."
    broken = ServiceError("Spark ended while it was at work.", remedy)
    try:
        yield
    except Exception as error:
        if _process(settings) != before:
            raise broken from error
        raise
    if _process(settings) != before:
        raise broken


def _process(settings: Settings) -> int | None:
    record = running(settings).get(NAME)
    return record.pid if record else None
