with gtfs_calendar as (
    select
        gtfs_service_id,
        is_monday,
        is_tuesday,
        is_wednesday,
        is_thursday,
        is_friday,
        is_saturday,
        is_sunday,
        service_start_date,
        service_end_date
    from {{ source('silver', 'gtfs_calendar') }}
)

select * from gtfs_calendar
