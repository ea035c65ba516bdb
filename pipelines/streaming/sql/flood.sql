-- Flood: alarm transitions of the river gauges, evaluated on arrival.
--
-- grain       one transition (raise, clear) of one alarm level at one station, or one reading that came too late
-- key         alert_id, transition; alert_id = level, station and event time of the raise, so a rebuilt job repeats it
-- event time  transition_at = observed_at of the reading that caused it
-- late rows   a reading older than the newest one of its station never flaps an alarm: it is emitted as ignored_older
-- state       per station: the newest reading, and per level whether it is active; it does not grow
-- parameters  $alarm_levels: thresholds by station, level and date of validity, from the code list alarm_levels

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
WHERE disposition <> 'duplicate' AND stage_m IS NOT NULL;

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
