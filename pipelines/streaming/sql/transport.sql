-- Transport: live windows over the lanes, one minute and five minutes; incidents; vehicle units; saturation at signals.
--
-- grain       lane_flow_*, lane_class_flow_5min: one window of one lane of one detector; traffic_incident: one raise or
--             clear on one section; signal_green: one green of one phase
-- key         detector_id, lane_no, window_start_at; alert_id, transition, where alert_id = method, section and the end of
--             the window that raised it, so a rebuilt job repeats it; junction_id, phase_no, observed_at
-- event time  observed_at; a window closes when the arrival clock has passed its end by the contract's watermark
-- late rows   late and corrected readings are not in a live window; the settled marts count them. signal_green looks at each
--             event alone: a late or corrected one makes its row anew
-- state       one open window per lane and size, dropped when the window closes; one small row per section
-- mean speed  weighted by vehicles where they were counted, else by reading; harmonic only where they were counted
-- two sizes   the select stands here once for each, on purpose: SQL has no parameter for a window's size; over a union
--             of both windows Flink no longer sees that a window ends, and would keep its state for ever; five minutes
--             out of the 1-minute rows would be means of rounded means, whose weights those rows do not carry
-- hot path    every reading passes both windows; what needs only their results stands behind the 5-minute one
-- parameters  code lists with their validity: $lane_free_flow, $congestion_limits, $detector_sections,
--             $incident_thresholds, $vehicle_factors

-- One row per reading that is in time and not refused by quality control.
CREATE VIEW lane_minute__on_time AS
SELECT
    detector_id,
    lane_no,
    vehicle_count,
    mean_speed_kmh,
    occupancy_pct,
    travel_time_s,
    queue_m,
    origin,
    received_at,
    CASE WHEN mean_speed_kmh IS NOT NULL THEN COALESCE(vehicle_count, 1) END AS speed_weight,
    rowtime
FROM lane_minute__conformed
WHERE disposition = 'on_time' AND qc_flag NOT IN (4, 9);

-- One row per lane and 1-minute window.
INSERT INTO lane_flow_1min (
    _key, detector_id, lane_no, window_start_at, window_end_at, reading_count, vehicle_count, mean_speed_kmh,
    occupancy_pct, travel_time_s, queue_m, origin, received_at
)
SELECT
    detector_id || '|' || CAST(lane_no AS STRING),
    detector_id,
    lane_no,
    window_start,
    window_end,
    COUNT(*),
    SUM(vehicle_count),
    CAST(SUM(mean_speed_kmh * speed_weight) / NULLIF(SUM(speed_weight), 0) AS DECIMAL(9, 3)),
    CAST(AVG(occupancy_pct) AS DECIMAL(9, 3)),
    CAST(AVG(travel_time_s) AS DECIMAL(9, 3)),
    MAX(queue_m),
    CASE WHEN MIN(origin) = MAX(origin) THEN MIN(origin) ELSE 'mixed' END,
    MAX(received_at)
FROM TABLE(TUMBLE(TABLE lane_minute__on_time, DESCRIPTOR(rowtime), INTERVAL '1' MINUTE))
GROUP BY detector_id, lane_no, window_start, window_end;

-- One row per lane and 5-minute window. The harmonic mean is of counted readings only: n vehicles at v km/h take n / v.
CREATE VIEW lane_5min__summed AS
SELECT
    detector_id,
    lane_no,
    window_start,
    window_end,
    window_time,
    COUNT(*) AS reading_count,
    SUM(vehicle_count) AS vehicle_count,
    CAST(SUM(mean_speed_kmh * speed_weight) / NULLIF(SUM(speed_weight), 0) AS DECIMAL(9, 3)) AS mean_speed_kmh,
    CAST(AVG(occupancy_pct) AS DECIMAL(9, 3)) AS occupancy_pct,
    CAST(AVG(travel_time_s) AS DECIMAL(9, 3)) AS travel_time_s,
    MAX(queue_m) AS queue_m,
    SUM(CASE WHEN vehicle_count > 0 AND mean_speed_kmh > 0 THEN CAST(vehicle_count AS DOUBLE) END)
    / SUM(CASE WHEN vehicle_count > 0 AND mean_speed_kmh > 0 THEN vehicle_count / CAST(mean_speed_kmh AS DOUBLE) END)
        AS harmonic_speed_kmh,
    CASE WHEN MIN(origin) = MAX(origin) THEN MIN(origin) ELSE 'mixed' END AS origin,
    MAX(received_at) AS received_at
FROM TABLE(TUMBLE(TABLE lane_minute__on_time, DESCRIPTOR(rowtime), INTERVAL '5' MINUTE))
GROUP BY detector_id, lane_no, window_start, window_end, window_time;

-- The same with the free flow of the lane, NULL where the code list has none.
CREATE VIEW lane_5min__free_flow AS
SELECT *
FROM CodeListJoin(
    input => TABLE lane_5min__summed, list => $lane_free_flow, valid_at => 'window_start', uid => 'lane_free_flow'
);

-- The same with flow (vehicles of 5 minutes as a rate per hour) and the speed, or else the travel time, against free flow.
CREATE VIEW lane_5min__rated AS
SELECT
    detector_id,
    lane_no,
    window_start,
    window_end,
    window_time,
    reading_count,
    vehicle_count,
    mean_speed_kmh,
    occupancy_pct,
    travel_time_s,
    queue_m,
    CAST(vehicle_count * 12 AS DOUBLE) AS flow_vehh,
    harmonic_speed_kmh,
    COALESCE(
        100 * COALESCE(harmonic_speed_kmh, CAST(mean_speed_kmh AS DOUBLE)) / free_flow_speed_kmh,
        100 * free_flow_travel_time_s / NULLIF(CAST(travel_time_s AS DOUBLE), 0)
    ) AS free_flow_ratio_pct,
    origin,
    received_at
FROM lane_5min__free_flow;

-- The same with the limits of congestion in force.
CREATE VIEW lane_5min__limited AS
SELECT *
FROM CodeListJoin(
    input => TABLE lane_5min__rated, list => $congestion_limits, valid_at => 'window_start', uid => 'lane_congestion'
);

INSERT INTO lane_flow_5min (
    _key, detector_id, lane_no, window_start_at, window_end_at, reading_count, vehicle_count, mean_speed_kmh,
    occupancy_pct, travel_time_s, queue_m, flow_vehh, harmonic_speed_kmh, density_vehkm, free_flow_ratio_pct,
    is_congested, origin, received_at
)
SELECT
    detector_id || '|' || CAST(lane_no AS STRING),
    detector_id,
    lane_no,
    window_start,
    window_end,
    reading_count,
    vehicle_count,
    mean_speed_kmh,
    occupancy_pct,
    travel_time_s,
    queue_m,
    flow_vehh,
    harmonic_speed_kmh,
    flow_vehh / harmonic_speed_kmh,
    free_flow_ratio_pct,
    free_flow_ratio_pct < congested_speed_pct,
    origin,
    received_at
FROM lane_5min__limited;

-- One row per lane, window and section that its detector belongs to.
CREATE VIEW section_5min__lanes AS
SELECT
    section_id,
    section_role,
    detector_id,
    free_flow_ratio_pct,
    CAST(occupancy_pct AS DOUBLE) AS occupancy_pct,
    origin,
    received_at,
    window_time
FROM CodeListJoin(
    input => TABLE lane_5min__rated, list => $detector_sections, valid_at => 'window_start', uid => 'detector_sections'
);

-- One row per section and window, the lanes of a station together. Windows of windows: they come in order of time.
CREATE VIEW section_5min AS
SELECT
    section_id,
    window_start,
    window_end,
    MIN(CASE WHEN section_role <> 'downstream' THEN detector_id END) AS detector_id,
    AVG(CASE WHEN section_role = 'station' THEN free_flow_ratio_pct END) AS free_flow_ratio_pct,
    AVG(CASE WHEN section_role = 'upstream' THEN occupancy_pct END) AS upstream_occupancy_pct,
    AVG(CASE WHEN section_role = 'downstream' THEN occupancy_pct END) AS downstream_occupancy_pct,
    CASE WHEN MIN(origin) = MAX(origin) THEN MIN(origin) ELSE 'mixed' END AS origin,
    MAX(received_at) AS received_at
FROM TABLE(TUMBLE(TABLE section_5min__lanes, DESCRIPTOR(window_time), INTERVAL '5' MINUTE))
WHERE section_id IS NOT NULL
GROUP BY section_id, window_start, window_end;

-- One row per raise and clear.
CREATE VIEW traffic_incident__transitions AS
SELECT *
FROM TrafficIncident(
    input => TABLE section_5min PARTITION BY section_id, thresholds => $incident_thresholds, uid => 'traffic_incident'
);

INSERT INTO traffic_incident (
    _key, alert_id, transition, transition_at, section_id, detector_id, incident_method, started_at, raised_at,
    free_flow_ratio_pct, upstream_occupancy_pct, downstream_occupancy_pct, origin, received_at
)
SELECT
    alert_id || '|' || transition,
    alert_id,
    transition,
    transition_at,
    section_id,
    detector_id,
    incident_method,
    started_at,
    raised_at,
    free_flow_ratio_pct,
    upstream_occupancy_pct,
    downstream_occupancy_pct,
    origin,
    received_at
FROM traffic_incident__transitions;

-- One row per count that is in time and not refused by quality control.
CREATE VIEW lane_class_count__on_time AS
SELECT
    detector_id,
    lane_no,
    vehicle_class,
    observed_at,
    vehicle_count,
    origin,
    received_at,
    rowtime
FROM lane_class_count__conformed
WHERE disposition = 'on_time' AND qc_flag NOT IN (4, 9);

-- The same with the factors of the class that hold on the day.
CREATE VIEW lane_class_count__factors AS
SELECT *
FROM CodeListJoin(
    input => TABLE lane_class_count__on_time, list => $vehicle_factors, valid_at => 'observed_at', uid => 'vehicle_factors'
);

-- One row per lane and 5-minute window.
INSERT INTO lane_class_flow_5min (
    _key, detector_id, lane_no, window_start_at, window_end_at, reading_count, vehicle_count, flow_vehh, flow_pcuh,
    flow_mcuh, pcu_covered_pct, mcu_covered_pct, origin, received_at
)
SELECT
    detector_id || '|' || CAST(lane_no AS STRING),
    detector_id,
    lane_no,
    window_start,
    window_end,
    COUNT(*),
    SUM(vehicle_count),
    CAST(SUM(vehicle_count) * 12 AS DOUBLE),
    SUM(vehicle_count * pcu_factor) * 12,
    SUM(vehicle_count * mcu_factor) * 12,
    100 * CAST(SUM(CASE WHEN pcu_factor IS NULL THEN 0 ELSE vehicle_count END) AS DOUBLE)
    / NULLIF(SUM(vehicle_count), 0),
    100 * CAST(SUM(CASE WHEN mcu_factor IS NULL THEN 0 ELSE vehicle_count END) AS DOUBLE)
    / NULLIF(SUM(vehicle_count), 0),
    CASE WHEN MIN(origin) = MAX(origin) THEN MIN(origin) ELSE 'mixed' END,
    MAX(received_at)
FROM TABLE(TUMBLE(TABLE lane_class_count__factors, DESCRIPTOR(rowtime), INTERVAL '5' MINUTE))
GROUP BY detector_id, lane_no, window_start, window_end;

-- One row per green of which the controller sent the count and the free time; a correction takes its place.
CREATE VIEW signal_green__measured AS
SELECT
    junction_id,
    phase_no,
    observed_at,
    CAST(interval_s AS DOUBLE) AS green_s,
    CAST(space_s AS DOUBLE) AS space_s,
    CAST(vehicle_count AS DOUBLE) AS vehicles,
    origin,
    received_at
FROM signal_event__conformed
WHERE disposition <> 'duplicate' AND qc_flag NOT IN (4, 9) AND signal_event_type = 'amber_start'
    AND interval_s > 0 AND space_s IS NOT NULL AND vehicle_count IS NOT NULL;

CREATE VIEW signal_green__limits AS
SELECT *
FROM CodeListJoin(
    input => TABLE signal_green__measured, list => $congestion_limits, valid_at => 'observed_at', uid => 'signal_limits'
);

-- SCATS: DS = (GT − free time + n × SMF) ÷ GT; Vk, what the used green could have discharged, = DS × GT × saturation flow.
CREATE VIEW signal_green__saturation AS
SELECT
    *,
    (green_s - space_s + vehicles * space_at_max_flow_s) / green_s AS degree_of_saturation,
    (green_s - space_s + vehicles * space_at_max_flow_s) * max_flow_vehh / 3600 / NULLIF(vehicles, 0) AS volume_ratio
FROM signal_green__limits;

INSERT INTO signal_green (
    _key, junction_id, phase_no, observed_at, green_s, space_s, vehicle_count, degree_of_saturation, volume_ratio,
    is_congested, origin, received_at
)
SELECT
    junction_id || '|' || CAST(phase_no AS STRING),
    junction_id,
    phase_no,
    observed_at,
    CAST(green_s AS DECIMAL(9, 1)),
    CAST(space_s AS DECIMAL(9, 1)),
    CAST(vehicles AS INT),
    degree_of_saturation,
    volume_ratio,
    -- Nobody passed a green in which the detector was occupied: nothing is more congested.
    degree_of_saturation > congested_saturation_ratio
    AND (vehicles = 0 OR volume_ratio > congested_volume_ratio),
    origin,
    received_at
FROM signal_green__saturation;
