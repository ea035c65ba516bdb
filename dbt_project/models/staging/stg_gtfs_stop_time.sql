with gtfs_stop_time as (
    select
        trip_id,
        stop_id,
        stop_sequence,
        arrival_s
    from {{ source('silver', 'gtfs_stop_time') }}
)

select * from gtfs_stop_time
