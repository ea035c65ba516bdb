CREATE TABLE `raw_violation_event` (
  `event_id` STRING,
  `observed_at` TIMESTAMP_LTZ(3),
  `camera_id` STRING,
  `violation_type` STRING,
  `plate_token` STRING,
  `confidence` DOUBLE,
  `review_status` STRING,
  `ward_code` STRING,
  `evidence_uri` STRING,
  `retained_until_date` DATE,
  `origin` STRING,
  `revision` INT,
  `_raw` BYTES,
  `_err` STRING,
  `_received_at` TIMESTAMP_LTZ(3) NOT NULL METADATA FROM 'timestamp' VIRTUAL,
  `_partition` INT METADATA FROM 'partition' VIRTUAL,
  `_offset` BIGINT METADATA FROM 'offset' VIRTUAL,
  `_rowtime` AS COALESCE(`observed_at`, `_received_at`),
  WATERMARK FOR `_rowtime` AS FLOOR(`_received_at` TO SECOND) - INTERVAL '0 00:02:10' DAY TO SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'demo.raw.violation_event',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.group.id' = 'demo.job',
  'scan.startup.mode' = 'earliest-offset',
  'scan.watermark.emit.strategy' = 'on-event',
  'value.format' = 'lake-json'
);

CREATE VIEW `violation_event__checked` AS
SELECT *,
  CASE
    WHEN `_err` IS NOT NULL THEN `_err`
    WHEN `event_id` IS NULL THEN 'missing_key:event_id'
    WHEN `observed_at` IS NULL THEN 'missing_event_time:observed_at'
    WHEN `origin` IS NULL OR `origin` NOT IN ('observed', 'replay', 'synthetic') THEN 'unknown_origin'
    WHEN `observed_at` > `_received_at` + INTERVAL '0 00:05:00' DAY TO SECOND THEN 'future'
  END AS `_reason`
FROM `raw_violation_event`;

CREATE VIEW `violation_event__flagged` AS
SELECT
  `event_id`,
  `observed_at`,
  `camera_id`,
  `violation_type`,
  `plate_token`,
  `confidence`,
  `review_status`,
  `ward_code`,
  `evidence_uri`,
  `retained_until_date`,
  `origin`,
  CAST(CASE WHEN (`confidence` < 0 OR `confidence` > 1) THEN 4 WHEN `confidence` IS NULL THEN 9 WHEN `confidence` IS NOT NULL THEN 1 ELSE 2 END AS INT) AS `_qc_flag`,
  CASE WHEN (`confidence` < 0 OR `confidence` > 1) OR `confidence` IS NULL THEN CONCAT_WS(';', CASE WHEN `confidence` < 0 OR `confidence` > 1 THEN 'confidence.gross_range=4' WHEN `confidence` IS NULL THEN 'confidence.gross_range=9' END) END AS `_qc_detail`,
  COALESCE(`revision`, 0) AS `_revision`,
  `observed_at` < `_received_at` - INTERVAL '0 00:02:00' DAY TO SECOND AS `_late`,
  `_received_at`,
  `_partition`,
  `_offset`,
  `_rowtime`
FROM `violation_event__checked`
WHERE `_reason` IS NULL;

CREATE VIEW `violation_event__conformed` AS
SELECT
  `event_id`,
  `observed_at`,
  `camera_id`,
  `violation_type`,
  `plate_token`,
  `confidence`,
  `review_status`,
  `ward_code`,
  `evidence_uri`,
  `retained_until_date`,
  `_qc_flag` AS `qc_flag`,
  `_qc_detail` AS `qc_detail`,
  `origin`,
  `_revision` AS `revision`,
  `_received_at` AS `received_at`,
  `_partition` AS `raw_partition`,
  `_offset` AS `raw_offset`,
  `disposition`,
  `rowtime`
FROM Disposition(
  input => TABLE `violation_event__flagged` PARTITION BY (`event_id`),
  instant => CAST('' AS STRING),
  horizon_ms => CAST(86400000 AS BIGINT),
  on_time => DESCRIPTOR(`_rowtime`),
  uid => 'violation_event_disposition'
);

CREATE TABLE `clean_violation_event` (
  `_key` STRING,
  `event_id` STRING,
  `observed_at` TIMESTAMP_LTZ(3),
  `camera_id` STRING,
  `violation_type` STRING,
  `plate_token` STRING,
  `confidence` DOUBLE,
  `review_status` STRING,
  `ward_code` STRING,
  `evidence_uri` STRING,
  `retained_until_date` DATE,
  `qc_flag` INT,
  `qc_detail` STRING,
  `origin` STRING,
  `revision` INT,
  `received_at` TIMESTAMP_LTZ(3),
  `raw_partition` INT,
  `raw_offset` BIGINT,
  `disposition` STRING
) WITH (
  'connector' = 'kafka',
  'topic' = 'demo.clean.violation_event',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.acks' = 'all',
  'properties.linger.ms' = '5',
  'properties.compression.type' = 'lz4',
  'sink.delivery-guarantee' = 'at-least-once',
  'key.format' = 'raw',
  'key.fields' = '_key',
  'value.fields-include' = 'EXCEPT_KEY',
  'value.format' = 'lake-json'
);

INSERT INTO `dead_letter` (`_key`, `dataset`, `raw_topic`, `raw_partition`, `raw_offset`, `received_at`, `reason`, `detail`, `payload`)
SELECT
  CONCAT_WS('|', 'violation_event', CAST(`_partition` AS STRING), CAST(`_offset` AS STRING)),
  'violation_event', 'demo.raw.violation_event', `_partition`, `_offset`, `_received_at`,
  SPLIT_INDEX(`_reason`, ':', 0), SPLIT_INDEX(`_reason`, ':', 1), `_raw`
FROM `violation_event__checked`
WHERE `_reason` IS NOT NULL;

INSERT INTO `clean_violation_event` (`_key`, `event_id`, `observed_at`, `camera_id`, `violation_type`, `plate_token`, `confidence`, `review_status`, `ward_code`, `evidence_uri`, `retained_until_date`, `qc_flag`, `qc_detail`, `origin`, `revision`, `received_at`, `raw_partition`, `raw_offset`, `disposition`)
SELECT CAST(`event_id` AS STRING), `event_id`, `observed_at`, `camera_id`, `violation_type`, `plate_token`, `confidence`, `review_status`, `ward_code`, `evidence_uri`, `retained_until_date`, `qc_flag`, `qc_detail`, `origin`, `revision`, `received_at`, `raw_partition`, `raw_offset`, `disposition`
FROM `violation_event__conformed`;
