"""Runtime of the lakehouse: settings, local services, Spark, Kafka, Flink and Trino clients, telemetry."""
