with flood_forecast_model as (
    select
        station_id,
        forecast_method,
        parameter_set_id,
        training_origin,
        origin,
        lead_h,
        forecast_stage_m,
        forecast_low_m,
        forecast_high_m,
        qc_flag,
        issued_at,
        training_from_at,
        training_to_at
    from {{ source('silver', 'flood_forecast_model') }}
)

select * from flood_forecast_model
