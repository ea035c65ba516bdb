with rain_gauge as (
    select
        station_id,
        origin,
        rain_mm,
        qc_flag,
        observed_at
    from {{ source('silver', 'rain_gauge') }}
)

select * from rain_gauge
