with vehicle_position as (
    select
        vehicle_id,
        trip_id,
        stop_id,
        route_id,
        origin,
        delay_s,
        qc_flag,
        observed_at
    from {{ source('silver', 'vehicle_position') }}
)

select * from vehicle_position
