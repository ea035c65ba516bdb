-- Every hour of a lane that the live or the settled figure knows. A reading came late when its event time lay behind
-- the arrival clock by more than the stream waits for; a corrected one has a revision of its source. The live figure
-- leaves out both, the settled one holds both.
with settled as (
    select
        detector_id,
        lane_no,
        hour_start_at,
        reading_count,
        vehicle_count,
        mean_speed_kmh,
        origin
    from {{ ref('kpi_traffic_hour') }}
),

readings as (
    select
        detector_id,
        lane_no,
        date_trunc('hour', observed_at) as hour_start_at,
        unix_micros(observed_at)
        < unix_micros(received_at) - {{ stream_setting('lane_minute', 'watermark_s') }} * 1000000L as is_late,
        revision > 0 as is_corrected
    from {{ ref('stg_lane_minute') }}
    where {{ is_usable('qc_flag') }}
),

windows as (
    select
        detector_id,
        lane_no,
        date_trunc('hour', window_start_at) as hour_start_at,
        reading_count,
        vehicle_count,
        mean_speed_kmh,
        origin
    from {{ ref('stg_lane_flow_1min') }}
),

arrivals as (
    select
        detector_id,
        lane_no,
        hour_start_at,
        count_if(is_late) as late_reading_count,
        count_if(is_corrected) as corrected_reading_count
    from readings
    group by
        detector_id,
        lane_no,
        hour_start_at
),

-- The mean of an hour is weighted as kpi_traffic_hour weights it.
live as (
    select
        detector_id,
        lane_no,
        hour_start_at,
        sum(reading_count) as reading_count,
        sum(vehicle_count) as vehicle_count,
        {{ counted_mean('mean_speed_kmh', 'vehicle_count') }} as mean_speed_kmh,
        {{ common_origin('origin') }} as origin
    from windows
    group by
        detector_id,
        lane_no,
        hour_start_at
),

joined as (
    select
        coalesce(settled.detector_id, live.detector_id) as detector_id,
        coalesce(settled.lane_no, live.lane_no) as lane_no,
        coalesce(settled.hour_start_at, live.hour_start_at) as hour_start_at,
        coalesce(live.reading_count, 0) as live_reading_count,
        coalesce(settled.reading_count, 0) as settled_reading_count,
        live.vehicle_count as live_vehicle_count,
        cast(settled.vehicle_count as bigint) as settled_vehicle_count,
        live.mean_speed_kmh as live_mean_speed_kmh,
        settled.mean_speed_kmh as settled_mean_speed_kmh,
        if(
            settled.origin is null or live.origin is null or settled.origin = live.origin,
            coalesce(settled.origin, live.origin),
            'mixed'
        ) as origin
    from settled
    full outer join live
        on
            settled.detector_id = live.detector_id
            and settled.lane_no = live.lane_no
            and settled.hour_start_at = live.hour_start_at
),

-- Where one of both figures counted no vehicle at all the difference is what the other counted; unknown where neither
-- did.
final as (
    select
        joined.detector_id,
        joined.lane_no,
        joined.hour_start_at,
        {{ local_date('joined.hour_start_at') }} as local_date,
        joined.live_reading_count,
        joined.settled_reading_count,
        joined.settled_reading_count - joined.live_reading_count as reading_difference_count,
        coalesce(arrivals.late_reading_count, 0) as late_reading_count,
        coalesce(arrivals.corrected_reading_count, 0) as corrected_reading_count,
        joined.live_vehicle_count,
        joined.settled_vehicle_count,
        case
            when coalesce(joined.settled_vehicle_count, joined.live_vehicle_count) is not null
                then coalesce(joined.settled_vehicle_count, 0) - coalesce(joined.live_vehicle_count, 0)
        end as vehicle_difference_count,
        joined.live_mean_speed_kmh,
        joined.settled_mean_speed_kmh,
        cast(joined.settled_mean_speed_kmh - joined.live_mean_speed_kmh as decimal(9, 3)) as mean_speed_difference_kmh,
        joined.origin
    from joined
    left join arrivals
        on
            joined.detector_id = arrivals.detector_id
            and joined.lane_no = arrivals.lane_no
            and joined.hour_start_at = arrivals.hour_start_at
)

select * from final
