CREATE TABLE `raw_lane_minute` (
  `detector_id` STRING,
  `lane_no` INT,
  `observed_at` TIMESTAMP_LTZ(3),
  `vehicle_count` INT,
  `mean_speed_kmh` DECIMAL(9, 3),
  `occupancy_pct` DECIMAL(9, 3),
  `travel_time_s` DECIMAL(9, 3),
  `queue_m` DECIMAL(9, 3),
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
  'topic' = 'demo.raw.lane_minute',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.group.id' = 'demo.job',
  'scan.startup.mode' = 'earliest-offset',
  'scan.watermark.emit.strategy' = 'on-event',
  'value.format' = 'lake-json'
);

CREATE VIEW `lane_minute__checked` AS
SELECT *,
  CASE
    WHEN `_err` IS NOT NULL THEN `_err`
    WHEN `detector_id` IS NULL THEN 'missing_key:detector_id'
    WHEN `lane_no` IS NULL THEN 'missing_key:lane_no'
    WHEN `observed_at` IS NULL THEN 'missing_event_time:observed_at'
    WHEN `origin` IS NULL OR `origin` NOT IN ('observed', 'replay', 'synthetic') THEN 'unknown_origin'
    WHEN `observed_at` > `_received_at` + INTERVAL '0 00:05:00' DAY TO SECOND THEN 'future'
  END AS `_reason`
FROM `raw_lane_minute`;

CREATE VIEW `lane_minute__flagged` AS
SELECT
  `detector_id`,
  `lane_no`,
  `observed_at`,
  `vehicle_count`,
  `mean_speed_kmh`,
  `occupancy_pct`,
  `travel_time_s`,
  `queue_m`,
  `origin`,
  CAST(CASE WHEN (`vehicle_count` < 0 OR `vehicle_count` > 400) OR (`mean_speed_kmh` < 0 OR `mean_speed_kmh` > 200) OR (`occupancy_pct` < 0 OR `occupancy_pct` > 100) OR (`travel_time_s` < 0 OR `travel_time_s` > 86400) OR (`queue_m` < 0 OR `queue_m` > 20000) THEN 4 WHEN (`vehicle_count` < 0 OR `vehicle_count` > 80) OR (`mean_speed_kmh` < 0 OR `mean_speed_kmh` > 140) OR (`occupancy_pct` < 0 OR `occupancy_pct` > 95) THEN 3 WHEN `vehicle_count` IS NOT NULL OR `mean_speed_kmh` IS NOT NULL OR `occupancy_pct` IS NOT NULL OR `travel_time_s` IS NOT NULL OR `queue_m` IS NOT NULL THEN 1 ELSE 2 END AS INT) AS `_qc_flag`,
  CASE WHEN (`vehicle_count` < 0 OR `vehicle_count` > 400) OR (`mean_speed_kmh` < 0 OR `mean_speed_kmh` > 200) OR (`occupancy_pct` < 0 OR `occupancy_pct` > 100) OR (`travel_time_s` < 0 OR `travel_time_s` > 86400) OR (`queue_m` < 0 OR `queue_m` > 20000) OR (`vehicle_count` < 0 OR `vehicle_count` > 80) OR (`mean_speed_kmh` < 0 OR `mean_speed_kmh` > 140) OR (`occupancy_pct` < 0 OR `occupancy_pct` > 95) OR `vehicle_count` IS NULL OR `mean_speed_kmh` IS NULL OR `occupancy_pct` IS NULL THEN CONCAT_WS(';', CASE WHEN `vehicle_count` < 0 OR `vehicle_count` > 400 THEN 'vehicle_count.gross_range=4' WHEN `vehicle_count` < 0 OR `vehicle_count` > 80 THEN 'vehicle_count.gross_range=3' WHEN `vehicle_count` IS NULL THEN 'vehicle_count.gross_range=9' END, CASE WHEN `mean_speed_kmh` < 0 OR `mean_speed_kmh` > 200 THEN 'mean_speed_kmh.gross_range=4' WHEN `mean_speed_kmh` < 0 OR `mean_speed_kmh` > 140 THEN 'mean_speed_kmh.gross_range=3' WHEN `mean_speed_kmh` IS NULL THEN 'mean_speed_kmh.gross_range=9' END, CASE WHEN `occupancy_pct` < 0 OR `occupancy_pct` > 100 THEN 'occupancy_pct.gross_range=4' WHEN `occupancy_pct` < 0 OR `occupancy_pct` > 95 THEN 'occupancy_pct.gross_range=3' WHEN `occupancy_pct` IS NULL THEN 'occupancy_pct.gross_range=9' END, CASE WHEN `travel_time_s` < 0 OR `travel_time_s` > 86400 THEN 'travel_time_s.gross_range=4' END, CASE WHEN `queue_m` < 0 OR `queue_m` > 20000 THEN 'queue_m.gross_range=4' END) END AS `_qc_detail`,
  COALESCE(`revision`, 0) AS `_revision`,
  `observed_at` < `_received_at` - INTERVAL '0 00:02:00' DAY TO SECOND AS `_late`,
  `_received_at`,
  `_partition`,
  `_offset`,
  `_rowtime`
FROM `lane_minute__checked`
WHERE `_reason` IS NULL;

CREATE VIEW `lane_minute__by_block` AS
SELECT
  HEX(TIMESTAMPDIFF(MINUTE, TO_TIMESTAMP_LTZ(0, 3), `observed_at`) / 32) AS `_block`,
  *
FROM `lane_minute__flagged`;

CREATE VIEW `lane_minute__conformed` AS
SELECT
  `detector_id`,
  `lane_no`,
  `observed_at`,
  `vehicle_count`,
  `mean_speed_kmh`,
  `occupancy_pct`,
  `travel_time_s`,
  `queue_m`,
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
  input => TABLE `lane_minute__by_block` PARTITION BY (`_block`, `detector_id`, `lane_no`),
  instant => CAST('observed_at' AS STRING),
  horizon_ms => CAST(86400000 AS BIGINT),
  on_time => DESCRIPTOR(`_rowtime`),
  uid => 'lane_minute_disposition'
);

CREATE TABLE `clean_lane_minute` (
  `_key` STRING,
  `detector_id` STRING,
  `lane_no` INT,
  `observed_at` TIMESTAMP_LTZ(3),
  `vehicle_count` INT,
  `mean_speed_kmh` DECIMAL(9, 3),
  `occupancy_pct` DECIMAL(9, 3),
  `travel_time_s` DECIMAL(9, 3),
  `queue_m` DECIMAL(9, 3),
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
  'topic' = 'demo.clean.lane_minute',
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
  CONCAT_WS('|', 'lane_minute', CAST(`_partition` AS STRING), CAST(`_offset` AS STRING)),
  'lane_minute', 'demo.raw.lane_minute', `_partition`, `_offset`, `_received_at`,
  SPLIT_INDEX(`_reason`, ':', 0), SPLIT_INDEX(`_reason`, ':', 1), `_raw`
FROM `lane_minute__checked`
WHERE `_reason` IS NOT NULL;

INSERT INTO `clean_lane_minute` (`_key`, `detector_id`, `lane_no`, `observed_at`, `vehicle_count`, `mean_speed_kmh`, `occupancy_pct`, `travel_time_s`, `queue_m`, `qc_flag`, `qc_detail`, `origin`, `revision`, `received_at`, `raw_partition`, `raw_offset`, `disposition`)
SELECT CONCAT_WS('|', CAST(`detector_id` AS STRING), CAST(`lane_no` AS STRING)), `detector_id`, `lane_no`, `observed_at`, `vehicle_count`, `mean_speed_kmh`, `occupancy_pct`, `travel_time_s`, `queue_m`, `qc_flag`, `qc_detail`, `origin`, `revision`, `received_at`, `raw_partition`, `raw_offset`, `disposition`
FROM `lane_minute__conformed`;
