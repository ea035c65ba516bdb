with lane_minute as (
    select
        detector_id,
        origin,
        lane_no,
        vehicle_count,
        mean_speed_kmh,
        occupancy_pct,
        travel_time_s,
        queue_m,
        qc_flag,
        revision,
        observed_at,
        received_at
    from {{ source('silver', 'lane_minute') }}
)

select * from lane_minute
