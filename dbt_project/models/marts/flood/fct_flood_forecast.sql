-- Forecasts and readings meet on steps of ten minutes: a reading belongs to the step nearest to it, so that a gauge
-- that reports at 12:58 is what was observed at 13:00. A forecast without a settled stage at its moment has no row yet.
with officials as (
    select
        station_id,
        forecast_issuer as forecaster,
        'official' as parameter_set_id,
        cast(null as string) as training_origin,
        origin,
        lead_h,
        forecast_stage_m,
        forecast_low_m,
        forecast_high_m,
        issued_at,
        cast(null as timestamp) as training_from_at,
        cast(null as timestamp) as training_to_at
    from {{ ref('stg_flood_forecast') }}
    where {{ is_usable('qc_flag') }}
),

models as (
    select
        station_id,
        forecast_method as forecaster,
        parameter_set_id,
        training_origin,
        origin,
        lead_h,
        forecast_stage_m,
        forecast_low_m,
        forecast_high_m,
        issued_at,
        training_from_at,
        training_to_at
    from {{ ref('stg_flood_forecast_model') }}
    where {{ is_usable('qc_flag') }}
),

readings as (
    select
        station_id,
        origin,
        stage_m,
        observed_at,
        {{ nearest_step('observed_at') }} as step_no
    from {{ ref('fct_river_stage') }}
    where {{ is_usable('qc_flag') }} and stage_m is not null
),

-- One row per station and step: the reading nearest to it, of two as near the earlier.
observed as (
    select
        station_id,
        step_no,
        min_by(stage_m, struct(abs(unix_micros(observed_at) - step_no * 600000000L), observed_at)) as stage_m,
        min_by(origin, struct(abs(unix_micros(observed_at) - step_no * 600000000L), observed_at)) as origin
    from readings
    group by
        station_id,
        step_no
),

everyone as (
    select
        *,
        false as is_official
    from models
    union all
    select
        *,
        true as is_official
    from officials
),

forecasts as (
    select
        *,
        timestamp_micros(unix_micros(issued_at) + lead_h * 3600000000L) as valid_at,
        {{ nearest_step('issued_at') }} as issue_step_no,
        {{ nearest_step('issued_at') }} + 6 * lead_h as valid_step_no
    from everyone
),

-- One row per forecast beside which there is an official one of the same moment, issued by then: the newest of them.
beside_official as (
    select
        forecasts.station_id,
        forecasts.forecaster,
        forecasts.parameter_set_id,
        forecasts.issued_at,
        forecasts.lead_h,
        max_by(official.forecast_stage_m, official.issued_at) as official_stage_m
    from forecasts
    inner join forecasts as official
        on
            forecasts.station_id = official.station_id
            and forecasts.valid_step_no = official.valid_step_no
            and forecasts.issued_at >= official.issued_at
            and official.is_official
    where not forecasts.is_official
    group by
        forecasts.station_id,
        forecasts.forecaster,
        forecasts.parameter_set_id,
        forecasts.issued_at,
        forecasts.lead_h
),

final as (
    select
        forecasts.station_id,
        forecasts.forecaster,
        forecasts.parameter_set_id,
        forecasts.issued_at,
        forecasts.lead_h,
        forecasts.valid_at,
        forecasts.is_official,
        coalesce(
            forecasts.valid_at >= forecasts.training_from_at and forecasts.issued_at <= forecasts.training_to_at, false
        ) as is_in_sample,
        forecasts.forecast_stage_m,
        observed.stage_m as observed_stage_m,
        cast(forecasts.forecast_stage_m - observed.stage_m as decimal(9, 3)) as error_m,
        at_issue.stage_m as persistence_stage_m,
        beside_official.official_stage_m,
        observed.stage_m between forecasts.forecast_low_m and forecasts.forecast_high_m as is_in_band,
        forecasts.training_origin,
        if(forecasts.origin = observed.origin, observed.origin, 'mixed') as origin
    from forecasts
    inner join observed
        on
            forecasts.station_id = observed.station_id
            and forecasts.valid_step_no = observed.step_no
    left join observed as at_issue
        on
            forecasts.station_id = at_issue.station_id
            and forecasts.issue_step_no = at_issue.step_no
    left join beside_official
        on
            forecasts.station_id = beside_official.station_id
            and forecasts.forecaster = beside_official.forecaster
            and forecasts.parameter_set_id = beside_official.parameter_set_id
            and forecasts.issued_at = beside_official.issued_at
            and forecasts.lead_h = beside_official.lead_h
)

select * from final
