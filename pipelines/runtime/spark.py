"""Sessions of the Spark Connect server."""

from typing import TYPE_CHECKING

from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def session(settings: Settings) -> "SparkSession":
    """Return a new session of the running server; end it with `stop()`, which leaves the server running.

    Its time zone is UTC. Raises ServiceError when Spark is down.
    """
    remote = endpoints(settings).spark_remote
    # The builder of pyspark.sql, not that of its connect package: only it makes pyspark.sql.functions speak to a
    # remote server, which the quality gate and its library rely on.
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(remote).create()
