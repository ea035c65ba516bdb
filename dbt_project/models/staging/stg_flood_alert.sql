with flood_alert as (
    select
        alert_id,
        station_id,
        transition,
        alarm_level,
        transition_at
    from {{ source('silver', 'flood_alert') }}
)

select * from flood_alert
