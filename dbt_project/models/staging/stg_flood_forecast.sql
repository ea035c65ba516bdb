with flood_forecast as (
    select
        station_id,
        forecast_issuer,
        origin,
        lead_h,
        forecast_stage_m,
        forecast_low_m,
        forecast_high_m,
        qc_flag,
        issued_at
    from {{ source('silver', 'flood_forecast') }}
)

select * from flood_forecast
