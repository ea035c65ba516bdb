"""Runtime of the lakehouse: settings, local services, Spark, Kafka, Flink, Trino and Airflow clients, telemetry."""
