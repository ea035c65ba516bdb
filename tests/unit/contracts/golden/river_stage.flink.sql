CREATE TABLE `raw_river_stage` (
  `station_id` STRING,
  `observed_at` TIMESTAMP_LTZ(3),
  `stage_m` DECIMAL(9, 3),
  `origin` STRING,
  `revision` INT,
  `_raw` BYTES,
  `_err` STRING,
  `_received_at` TIMESTAMP_LTZ(3) NOT NULL METADATA FROM 'timestamp' VIRTUAL,
  `_partition` INT METADATA FROM 'partition' VIRTUAL,
  `_offset` BIGINT METADATA FROM 'offset' VIRTUAL,
  `_rowtime` AS COALESCE(`observed_at`, `_received_at`),
  WATERMARK FOR `_rowtime` AS FLOOR(`_received_at` TO SECOND) - INTERVAL '0 00:10:10' DAY TO SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'demo.raw.river_stage',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.group.id' = 'demo.job',
  'scan.startup.mode' = 'earliest-offset',
  'scan.watermark.emit.strategy' = 'on-event',
  'value.format' = 'lake-json'
);

CREATE VIEW `river_stage__checked` AS
SELECT *,
  CASE
    WHEN `_err` IS NOT NULL THEN `_err`
    WHEN `station_id` IS NULL THEN 'missing_key:station_id'
    WHEN `observed_at` IS NULL THEN 'missing_event_time:observed_at'
    WHEN `origin` IS NULL OR `origin` NOT IN ('observed', 'replay', 'synthetic') THEN 'unknown_origin'
    WHEN `observed_at` > `_received_at` + INTERVAL '0 00:05:00' DAY TO SECOND THEN 'future'
  END AS `_reason`
FROM `raw_river_stage`;

CREATE VIEW `river_stage__flagged` AS
SELECT
  `station_id`,
  `observed_at`,
  `stage_m`,
  `origin`,
  CAST(CASE WHEN (CASE `station_id` WHEN '71518' THEN `stage_m` < -2 OR `stage_m` > 9 WHEN '71520' THEN `stage_m` < -2 OR `stage_m` > 9 WHEN 'HUE-TN' THEN `stage_m` < 50 OR `stage_m` > 75 ELSE `stage_m` < -2 OR `stage_m` > 15 END) THEN 4 WHEN (CASE `station_id` WHEN '71518' THEN `stage_m` < -0.8 OR `stage_m` > 6.0 WHEN '71520' THEN `stage_m` < -0.8 OR `stage_m` > 6.5 WHEN 'HUE-TN' THEN `stage_m` < 54 OR `stage_m` > 66 ELSE `stage_m` < -1 OR `stage_m` > 8 END) OR ((`station_id` = '71520' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8) AND (`stage_m` < -0.8 OR `stage_m` > 3.5)) OR (`station_id` = '71518' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8) AND (`stage_m` < -0.8 OR `stage_m` > 4.5))) THEN 3 WHEN `stage_m` IS NULL THEN 9 WHEN `stage_m` IS NOT NULL THEN 1 ELSE 2 END AS INT) AS `_qc_flag`,
  CASE WHEN (CASE `station_id` WHEN '71518' THEN `stage_m` < -2 OR `stage_m` > 9 WHEN '71520' THEN `stage_m` < -2 OR `stage_m` > 9 WHEN 'HUE-TN' THEN `stage_m` < 50 OR `stage_m` > 75 ELSE `stage_m` < -2 OR `stage_m` > 15 END) OR (CASE `station_id` WHEN '71518' THEN `stage_m` < -0.8 OR `stage_m` > 6.0 WHEN '71520' THEN `stage_m` < -0.8 OR `stage_m` > 6.5 WHEN 'HUE-TN' THEN `stage_m` < 54 OR `stage_m` > 66 ELSE `stage_m` < -1 OR `stage_m` > 8 END) OR ((`station_id` = '71520' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8) AND (`stage_m` < -0.8 OR `stage_m` > 3.5)) OR (`station_id` = '71518' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8) AND (`stage_m` < -0.8 OR `stage_m` > 4.5))) OR `stage_m` IS NULL OR (NOT ((`station_id` = '71520' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8)) OR (`station_id` = '71518' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8)))) THEN CONCAT_WS(';', CASE WHEN CASE `station_id` WHEN '71518' THEN `stage_m` < -2 OR `stage_m` > 9 WHEN '71520' THEN `stage_m` < -2 OR `stage_m` > 9 WHEN 'HUE-TN' THEN `stage_m` < 50 OR `stage_m` > 75 ELSE `stage_m` < -2 OR `stage_m` > 15 END THEN 'stage_m.gross_range=4' WHEN CASE `station_id` WHEN '71518' THEN `stage_m` < -0.8 OR `stage_m` > 6.0 WHEN '71520' THEN `stage_m` < -0.8 OR `stage_m` > 6.5 WHEN 'HUE-TN' THEN `stage_m` < 54 OR `stage_m` > 66 ELSE `stage_m` < -1 OR `stage_m` > 8 END THEN 'stage_m.gross_range=3' WHEN `stage_m` IS NULL THEN 'stage_m.gross_range=9' END, CASE WHEN (`station_id` = '71520' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8) AND (`stage_m` < -0.8 OR `stage_m` > 3.5)) OR (`station_id` = '71518' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8) AND (`stage_m` < -0.8 OR `stage_m` > 4.5)) THEN 'stage_m.climatology=3' WHEN `stage_m` IS NULL THEN 'stage_m.climatology=9' WHEN NOT ((`station_id` = '71520' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8)) OR (`station_id` = '71518' AND EXTRACT(MONTH FROM `observed_at` + INTERVAL '7' HOUR) IN (1, 2, 3, 4, 5, 6, 7, 8))) THEN 'stage_m.climatology=2' END) END AS `_qc_detail`,
  COALESCE(`revision`, 0) AS `_revision`,
  `observed_at` < `_received_at` - INTERVAL '0 00:10:00' DAY TO SECOND AS `_late`,
  `_received_at`,
  `_partition`,
  `_offset`,
  `_rowtime`
FROM `river_stage__checked`
WHERE `_reason` IS NULL;

CREATE VIEW `river_stage__tested` AS
SELECT
  `station_id`,
  `observed_at`,
  `stage_m`,
  `origin`,
  `_tested_flag` AS `_qc_flag`,
  `_tested_detail` AS `_qc_detail`,
  `_revision`,
  `_late`,
  `_received_at`,
  `_partition`,
  `_offset`,
  `rowtime` AS `_rowtime`
FROM QualityTests(
  input => TABLE `river_stage__flagged` PARTITION BY (`station_id`),
  tests => CAST('{"event_time": "observed_at", "entity": "station_id", "cadence_ms": 600000, "keep_ms": 88200000, "gap": {"suspect_ms": 1800000}, "fields": {"stage_m": {"spike": {"window_ms": 3600000, "suspect": "0.4", "fail": "1.2"}, "rate_of_change": {"window_ms": 3600000, "suspect": "1", "fail": "4"}, "attenuated_signal": {"window_ms": 86400000, "suspect": "0.02"}, "flat_line": {"tolerance": "0", "except": [], "suspect_ms": 21600000, "fail_ms": 86400000}}}, "overrides": [{"entity": "HUE-TN", "field": "stage_m", "test": "spike", "suspect": "1.2", "fail": "4"}, {"entity": "HUE-TN", "field": "stage_m", "test": "rate_of_change", "suspect": "3", "fail": "12"}]}' AS STRING),
  on_time => DESCRIPTOR(`_rowtime`),
  uid => 'river_stage_quality'
);

CREATE VIEW `river_stage__by_block` AS
SELECT
  HEX(TIMESTAMPDIFF(MINUTE, TO_TIMESTAMP_LTZ(0, 3), `observed_at`) / 320) AS `_block`,
  *
FROM `river_stage__tested`;

CREATE VIEW `river_stage__conformed` AS
SELECT
  `station_id`,
  `observed_at`,
  `stage_m`,
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
  input => TABLE `river_stage__by_block` PARTITION BY (`_block`, `station_id`),
  instant => CAST('observed_at' AS STRING),
  horizon_ms => CAST(86400000 AS BIGINT),
  on_time => DESCRIPTOR(`_rowtime`),
  uid => 'river_stage_disposition'
);

CREATE TABLE `clean_river_stage` (
  `_key` STRING,
  `station_id` STRING,
  `observed_at` TIMESTAMP_LTZ(3),
  `stage_m` DECIMAL(9, 3),
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
  'topic' = 'demo.clean.river_stage',
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
  CONCAT_WS('|', 'river_stage', CAST(`_partition` AS STRING), CAST(`_offset` AS STRING)),
  'river_stage', 'demo.raw.river_stage', `_partition`, `_offset`, `_received_at`,
  SPLIT_INDEX(`_reason`, ':', 0), SPLIT_INDEX(`_reason`, ':', 1), `_raw`
FROM `river_stage__checked`
WHERE `_reason` IS NOT NULL;

INSERT INTO `clean_river_stage` (`_key`, `station_id`, `observed_at`, `stage_m`, `qc_flag`, `qc_detail`, `origin`, `revision`, `received_at`, `raw_partition`, `raw_offset`, `disposition`)
SELECT CAST(`station_id` AS STRING), `station_id`, `observed_at`, `stage_m`, `qc_flag`, `qc_detail`, `origin`, `revision`, `received_at`, `raw_partition`, `raw_offset`, `disposition`
FROM `river_stage__conformed`;
