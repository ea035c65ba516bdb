-- Flood: alarm transitions and rates of rise of the river gauges, accumulated rain, the state of the reservoirs, and the
-- depth of flooding by ward; all evaluated on arrival.
--
-- grain       flood_alert: one transition (raise, clear) of one alarm level at one station, or one reading that came too
--             late; the others: one reading of one gauge, reservoir or (urban_depth_ward) site of the ward
-- key         flood_alert: alert_id, transition; alert_id = rule, station and event time of the raise, so a rebuilt job
--             repeats it; the others: the entity and observed_at
-- event time  observed_at of the reading that caused the row
-- late rows   a reading older than the newest one of its station never flaps an alarm: it is emitted as ignored_older. In
--             every other table it makes the rows anew in whose windows it lies, so that what remains is a function of
--             the readings and not of their order; one that comes later than the dedupe horizon changes nothing
-- state       alarms: the newest reading of a station, and per level whether it is active; the others: the readings of
--             the horizon and of the longest window of one entity, at most 1,024; neither grows
-- parameters  $alarm_levels: thresholds by station, level (4: the record) and date of validity; $reservoir_tables: normal
--             levels and storage tables; $<stream>_cadence_ms, _dedupe_ms, _freshness_ms: durations of its contract

-- One row per accepted reading: duplicates say nothing new, everything else is evaluated.
CREATE VIEW river_stage__evaluated AS
SELECT
    station_id,
    observed_at,
    stage_m,
    qc_flag,
    received_at,
    origin,
    raw_partition,
    raw_offset
FROM river_stage__conformed
WHERE disposition <> 'duplicate';

-- One row per transition. Hysteresis 0.10 m for 30 min: below that, wind waves and the rounding of the gauge flap.
CREATE VIEW flood_alert__transitions AS
SELECT *
FROM FloodAlarm(
    input => TABLE river_stage__evaluated PARTITION BY station_id,
    levels => CAST($alarm_levels AS STRING),
    hysteresis_m => CAST(0.10 AS DECIMAL(9, 3)),
    hold_ms => CAST(1800000 AS BIGINT),
    uid => 'flood_alarm'
);

INSERT INTO flood_alert (
    _key, alert_id, transition, transition_at, station_id, rule_code, alarm_level, raised_at, stage_m, threshold_m,
    peak_stage_m, trigger_partition, trigger_offset, origin, received_at
)
SELECT
    alert_id || '|' || transition,
    alert_id,
    transition,
    transition_at,
    station_id,
    rule,
    level,
    raised_at,
    stage_m,
    threshold_m,
    peak_stage_m,
    raw_partition,
    raw_offset,
    origin,
    received_at
FROM flood_alert__transitions;

-- One row per reading, and again per reading of the six hours behind one that came late or corrected.
CREATE VIEW river_trend__rates AS
SELECT *
FROM RiverTrend(
    input => TABLE river_stage__evaluated PARTITION BY station_id,
    levels => CAST($alarm_levels AS STRING),
    late_ms => CAST($river_stage_dedupe_ms AS BIGINT),
    uid => 'river_trend'
);

INSERT INTO river_trend (
    _key, station_id, observed_at, stage_m, rise_1h_mh, rise_3h_mh, rise_6h_mh, alarm_level, next_alarm_level,
    next_threshold_m, time_to_next_min, origin, received_at
)
SELECT
    station_id,
    station_id,
    observed_at,
    stage_m,
    rise_1h_mh,
    rise_3h_mh,
    rise_6h_mh,
    alarm_level,
    next_alarm_level,
    next_threshold_m,
    time_to_next_min,
    origin,
    received_at
FROM river_trend__rates;

-- One row per accepted reading.
CREATE VIEW rain_gauge__evaluated AS
SELECT
    station_id,
    observed_at,
    rain_mm,
    qc_flag,
    received_at,
    origin
FROM rain_gauge__conformed
WHERE disposition <> 'duplicate';

-- One row per reading, and again per reading behind one that came late or corrected. Six dry hours end an event.
CREATE VIEW rain_accumulation__sums AS
SELECT *
FROM RainAccumulation(
    input => TABLE rain_gauge__evaluated PARTITION BY station_id,
    period_ms => CAST($rain_gauge_cadence_ms AS BIGINT),
    dry_ms => CAST(21600000 AS BIGINT),
    late_ms => CAST($rain_gauge_dedupe_ms AS BIGINT),
    uid => 'rain_accumulation'
);

INSERT INTO rain_accumulation (
    _key, station_id, observed_at, rain_1h_mm, coverage_1h_pct, rain_3h_mm, coverage_3h_pct, rain_6h_mm,
    coverage_6h_pct, rain_12h_mm, coverage_12h_pct, rain_24h_mm, coverage_24h_pct, event_started_at, event_rain_mm,
    event_coverage_pct, origin, received_at
)
SELECT
    station_id,
    station_id,
    observed_at,
    rain_1h_mm,
    coverage_1h_pct,
    rain_3h_mm,
    coverage_3h_pct,
    rain_6h_mm,
    coverage_6h_pct,
    rain_12h_mm,
    coverage_12h_pct,
    rain_24h_mm,
    coverage_24h_pct,
    event_started_at,
    event_rain_mm,
    event_coverage_pct,
    origin,
    received_at
FROM rain_accumulation__sums;

-- One row per accepted report.
CREATE VIEW reservoir_op__evaluated AS
SELECT
    reservoir_id,
    observed_at,
    level_m,
    inflow_m3s,
    outflow_m3s,
    qc_flag,
    received_at,
    origin
FROM reservoir_op__conformed
WHERE disposition <> 'duplicate';

-- One row per report, and again per report of the three hours behind one that came late or corrected.
CREATE VIEW reservoir_state__levels AS
SELECT *
FROM ReservoirState(
    input => TABLE reservoir_op__evaluated PARTITION BY reservoir_id,
    reservoirs => CAST($reservoir_tables AS STRING),
    late_ms => CAST($reservoir_op_dedupe_ms AS BIGINT),
    uid => 'reservoir_state'
);

INSERT INTO reservoir_state (
    _key, reservoir_id, observed_at, level_m, normal_level_m, below_normal_m, storage_mm3, free_storage_mm3, inflow_m3s,
    outflow_m3s, net_inflow_m3s, rise_3h_mh, origin, received_at
)
SELECT
    reservoir_id,
    reservoir_id,
    observed_at,
    level_m,
    normal_level_m,
    below_normal_m,
    storage_mm3,
    free_storage_mm3,
    inflow_m3s,
    outflow_m3s,
    net_inflow_m3s,
    rise_3h_mh,
    origin,
    received_at
FROM reservoir_state__levels;

-- One row per accepted reading.
CREATE VIEW urban_flood_depth__evaluated AS
SELECT
    site_id,
    ward_code,
    observed_at,
    depth_cm,
    qc_flag,
    received_at,
    origin
FROM urban_flood_depth__conformed
WHERE disposition <> 'duplicate';

-- One row per ward and moment of a reading, and again for the moments that a late or corrected one is live in. A site is
-- live as long as the contract promises its readings to be fresh.
CREATE VIEW urban_depth_ward__depths AS
SELECT *
FROM UrbanDepth(
    input => TABLE urban_flood_depth__evaluated PARTITION BY ward_code,
    live_ms => CAST($urban_flood_depth_freshness_ms AS BIGINT),
    late_ms => CAST($urban_flood_depth_dedupe_ms AS BIGINT),
    uid => 'urban_depth_ward'
);

INSERT INTO urban_depth_ward (
    _key, ward_code, observed_at, max_depth_cm, mean_depth_cm, deepest_site_id, live_site_count, origin, received_at
)
SELECT
    ward_code,
    ward_code,
    observed_at,
    max_depth_cm,
    mean_depth_cm,
    deepest_site_id,
    live_site_count,
    origin,
    received_at
FROM urban_depth_ward__depths;
