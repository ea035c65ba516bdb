-- Speed is weighted by vehicles where an hour has counts beside speeds, else the plain mean of the readings. Free flow
-- is a percentile of the lane's off-peak speeds, or of all its speeds where the night was never measured. The flow is
-- the mean rate of the periods that were counted, each one cadence of lane_minute; density is flow over the harmonic
-- mean speed of counted readings.
with readings as (
    select
        detector_id,
        lane_no,
        observed_at,
        date_trunc('hour', observed_at) as hour_start_at,
        vehicle_count,
        mean_speed_kmh,
        occupancy_pct,
        travel_time_s,
        queue_m,
        cast(mean_speed_kmh as double) as speed_kmh,
        cast(travel_time_s as double) as time_s,
        origin,
        {{ local_hour('observed_at') }} >= {{ var('traffic_off_peak_from_hour') }}
        or {{ local_hour('observed_at') }} < {{ var('traffic_off_peak_until_hour') }} as is_off_peak
    from {{ ref('stg_lane_minute') }}
    where {{ is_usable('qc_flag') }}
),

-- One row per lane: its free-flow speed and, for lanes that measure travel times only, its free-flow travel time.
lanes as (
    select
        detector_id,
        lane_no,
        coalesce(
            percentile(speed_kmh, {{ var('traffic_free_flow_percentile') }}) filter (where is_off_peak),
            percentile(speed_kmh, {{ var('traffic_free_flow_percentile') }})
        ) as free_flow_speed_kmh,
        coalesce(
            percentile(time_s, 1 - {{ var('traffic_free_flow_percentile') }}) filter (where is_off_peak),
            percentile(time_s, 1 - {{ var('traffic_free_flow_percentile') }})
        ) as free_flow_travel_time_s
    from readings
    group by
        detector_id,
        lane_no
),

limits as (
    select
        congested_speed_pct,
        valid_from,
        valid_to
    from {{ ref('stg_code_congestion_limits') }}
),

-- A reading is compared with free flow by its speed, or else by its travel time.
compared as (
    select
        readings.*,
        coalesce(
            100 * readings.speed_kmh / nullif(lanes.free_flow_speed_kmh, 0),
            100 * lanes.free_flow_travel_time_s / nullif(readings.time_s, 0)
        ) as free_flow_ratio_pct,
        limits.congested_speed_pct
    from readings
    inner join lanes
        on
            readings.detector_id = lanes.detector_id
            and readings.lane_no = lanes.lane_no
    left join limits
        on {{ in_force('limits', local_date('readings.observed_at')) }}
),

hours as (
    select
        detector_id,
        lane_no,
        hour_start_at,
        count(*) as reading_count,
        cast(sum(vehicle_count) as int) as vehicle_count,
        3600.0D / {{ stream_setting('lane_minute', 'cadence_s') }}
        * sum(vehicle_count) / nullif(count(vehicle_count), 0) as flow_vehh,
        sum(cast(vehicle_count as double)) filter (where vehicle_count > 0 and speed_kmh > 0)
        / sum(vehicle_count / nullif(speed_kmh, 0)) filter (where vehicle_count > 0 and speed_kmh > 0)
            as harmonic_speed_kmh,
        count(free_flow_ratio_pct) as speed_reading_count,
        count_if(free_flow_ratio_pct < congested_speed_pct) as congested_reading_count,
        {{ counted_mean('mean_speed_kmh', 'vehicle_count') }} as mean_speed_kmh,
        cast(avg(occupancy_pct) as decimal(9, 3)) as occupancy_pct,
        cast(avg(travel_time_s) as decimal(9, 3)) as travel_time_s,
        max(queue_m) as max_queue_m,
        {{ common_origin('origin') }} as origin
    from compared
    group by
        detector_id,
        lane_no,
        hour_start_at
),

-- At standstill the index is unknown, not infinite.
final as (
    select
        hours.detector_id,
        hours.lane_no,
        hours.hour_start_at,
        {{ local_date('hours.hour_start_at') }} as local_date,
        hours.reading_count,
        hours.vehicle_count,
        hours.mean_speed_kmh,
        hours.occupancy_pct,
        hours.travel_time_s,
        lanes.free_flow_speed_kmh,
        case
            when hours.mean_speed_kmh > 0 then lanes.free_flow_speed_kmh / cast(hours.mean_speed_kmh as double)
            when hours.mean_speed_kmh is null and lanes.free_flow_travel_time_s > 0
                then cast(hours.travel_time_s as double) / lanes.free_flow_travel_time_s
        end as travel_time_index,
        hours.flow_vehh,
        hours.harmonic_speed_kmh,
        hours.flow_vehh / hours.harmonic_speed_kmh as density_vehkm,
        hours.max_queue_m,
        hours.speed_reading_count,
        hours.congested_reading_count,
        {{ share_pct('hours.congested_reading_count', 'hours.speed_reading_count') }} as congested_pct,
        hours.origin
    from hours
    inner join lanes
        on
            hours.detector_id = lanes.detector_id
            and hours.lane_no = lanes.lane_no
)

select * from final
