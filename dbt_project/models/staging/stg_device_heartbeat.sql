with device_heartbeat as (
    select
        device_id,
        origin,
        observed_at
    from {{ source('silver', 'device_heartbeat') }}
)

select * from device_heartbeat
