with traffic_source as (
    select
        agency_id,
        traffic_source_kind,
        work_status,
        device_id,
        origin
    from {{ source('silver', 'traffic_source') }}
)

select * from traffic_source
