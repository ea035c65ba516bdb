with lane_minute as (
    select
        detector_id,
        origin,
        qc_detail,
        lane_no,
        vehicle_count,
        mean_speed_kmh,
        occupancy_pct,
        travel_time_s,
        qc_flag,
        observed_at
    from {{ source('silver', 'lane_minute') }}
)

select * from lane_minute
