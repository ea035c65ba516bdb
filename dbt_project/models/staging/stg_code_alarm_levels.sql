with code_alarm_levels as (
    select
        station_id,
        alarm_level,
        threshold_m,
        valid_from,
        valid_to
    from {{ source('silver', 'code_alarm_levels') }}
)

select * from code_alarm_levels
