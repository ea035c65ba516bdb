-- Lead time of the announcement of each settled episode. A forecaster is listed if it had, before the raise and out of
-- sample, forecast any moment of the episode; whether it put the level there is what is asked.
with episodes as (
    select
        alert_id,
        station_id,
        alarm_level,
        raised_at,
        cleared_at,
        origin
    from {{ ref('fct_flood_episode') }}
),

forecasts as (
    select
        station_id,
        forecaster,
        parameter_set_id,
        issued_at,
        valid_at,
        {{ local_date('valid_at') }} as local_date,
        forecast_stage_m,
        origin
    from {{ ref('fct_flood_forecast') }}
    where not is_in_sample
),

alarm_levels as (
    select
        station_id,
        alarm_level,
        threshold_m,
        valid_from,
        valid_to
    from {{ ref('stg_code_alarm_levels') }}
),

-- One row per episode and forecast of a moment of it that was issued before its raise.
before_raise as (
    select
        episodes.alert_id,
        episodes.station_id,
        episodes.alarm_level,
        episodes.raised_at,
        forecasts.forecaster,
        forecasts.parameter_set_id,
        forecasts.issued_at,
        forecasts.forecast_stage_m >= alarm_levels.threshold_m as is_forecast,
        if(episodes.origin = forecasts.origin, episodes.origin, 'mixed') as origin
    from episodes
    inner join forecasts
        on
            episodes.station_id = forecasts.station_id
            and episodes.raised_at > forecasts.issued_at
            and episodes.raised_at <= forecasts.valid_at
            and (episodes.cleared_at is null or episodes.cleared_at > forecasts.valid_at)
    inner join alarm_levels
        on
            episodes.station_id = alarm_levels.station_id
            and episodes.alarm_level = alarm_levels.alarm_level
            and forecasts.local_date >= alarm_levels.valid_from
            and (alarm_levels.valid_to is null or forecasts.local_date < alarm_levels.valid_to)
),

announcements as (
    select
        alert_id,
        forecaster,
        parameter_set_id,
        station_id,
        alarm_level,
        raised_at,
        min(issued_at) filter (where is_forecast) as announced_at,
        {{ common_origin('origin') }} as origin
    from before_raise
    group by
        alert_id,
        forecaster,
        parameter_set_id,
        station_id,
        alarm_level,
        raised_at
),

final as (
    select
        alert_id,
        forecaster,
        parameter_set_id,
        station_id,
        alarm_level,
        raised_at,
        announced_at is not null as is_announced,
        announced_at,
        {{ hours_between('announced_at', 'raised_at') }} as warning_lead_h,
        origin
    from announcements
)

select * from final
