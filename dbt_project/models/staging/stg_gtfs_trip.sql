with gtfs_trip as (
    select
        trip_id,
        route_id,
        gtfs_service_id
    from {{ source('silver', 'gtfs_trip') }}
)

select * from gtfs_trip
