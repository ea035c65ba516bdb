with lane_flow_1min as (
    select
        detector_id,
        origin,
        lane_no,
        reading_count,
        vehicle_count,
        mean_speed_kmh,
        window_start_at
    from {{ source('silver', 'lane_flow_1min') }}
)

select * from lane_flow_1min
