-- Transport: live windows over the lanes, one minute and five minutes.
--
-- grain       one window of one lane of one detector
-- key         detector_id, lane_no, window_start_at
-- event time  observed_at; a window closes when the arrival clock has passed its end by the contract's watermark
-- late rows   late and corrected readings are not in a live window; the settled kpi_traffic_hour counts them
-- state       one open window per lane and size; it is dropped when the window closes
-- mean speed  weighted by vehicles where they were counted, else by reading
-- two sizes   the select stands here once for each, on purpose: SQL has no parameter for a window's size; over a union
--             of both windows Flink no longer sees that a window ends, and would keep its state for ever; five minutes
--             out of the 1-minute rows would be means of rounded means, whose weights those rows do not carry

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

-- One row per lane and 5-minute window.
INSERT INTO lane_flow_5min (
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
FROM TABLE(TUMBLE(TABLE lane_minute__on_time, DESCRIPTOR(rowtime), INTERVAL '5' MINUTE))
GROUP BY detector_id, lane_no, window_start, window_end;
