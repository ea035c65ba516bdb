-- Scores out of sample. Skill is 1 - MSE / MSE of the reference, over the forecasts for which the reference is known.
-- Errors are summed as decimals: a sum of doubles depends on the order of the rows.
with forecasts as (
    select
        station_id,
        forecaster,
        parameter_set_id,
        lead_h,
        {{ local_date('valid_at') }} as local_date,
        is_in_sample,
        forecast_stage_m,
        observed_stage_m,
        error_m,
        persistence_stage_m - observed_stage_m as persistence_error_m,
        official_stage_m - observed_stage_m as official_error_m,
        is_in_band,
        training_origin,
        origin
    from {{ ref('fct_flood_forecast') }}
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

-- One row per forecast and level whose threshold is valid on its local date; level 0 is every stage.
by_level as (
    select
        *,
        0 as alarm_level,
        true as is_observed,
        true as is_forecast
    from forecasts
    union all
    select
        forecasts.*,
        alarm_levels.alarm_level,
        forecasts.observed_stage_m >= alarm_levels.threshold_m as is_observed,
        forecasts.forecast_stage_m >= alarm_levels.threshold_m as is_forecast
    from forecasts
    inner join alarm_levels
        on
            forecasts.station_id = alarm_levels.station_id
            and forecasts.local_date >= alarm_levels.valid_from
            and (alarm_levels.valid_to is null or forecasts.local_date < alarm_levels.valid_to)
),

scored as (
    select
        *,
        not is_in_sample and is_observed as is_scored,
        not is_in_sample and is_observed and persistence_error_m is not null as is_beside_persistence,
        not is_in_sample and is_observed and official_error_m is not null as is_beside_official
    from by_level
),

sums as (
    select
        station_id,
        forecaster,
        parameter_set_id,
        lead_h,
        alarm_level,
        count_if(not is_in_sample) as forecast_count,
        count_if(is_in_sample) as in_sample_count,
        count_if(is_scored) as scored_count,
        cast(sum(abs(error_m)) filter (where is_scored) as double) as absolute_m,
        cast(sum(error_m * error_m) filter (where is_scored) as double) as squared_m2,
        cast(sum(error_m) filter (where is_scored) as double) as signed_m,
        cast(sum(error_m * error_m) filter (where is_beside_persistence) as double) as beside_persistence_m2,
        cast(
            sum(persistence_error_m * persistence_error_m) filter (where is_beside_persistence) as double
        ) as persistence_m2,
        count_if(is_beside_official) as official_count,
        cast(sum(error_m * error_m) filter (where is_beside_official) as double) as beside_official_m2,
        cast(sum(official_error_m * official_error_m) filter (where is_beside_official) as double) as official_m2,
        count_if(is_scored and is_in_band) as in_band_count,
        count_if(is_scored and is_in_band is not null) as banded_count,
        count_if(not is_in_sample and is_observed and is_forecast) as hit_count,
        count_if(not is_in_sample and is_observed and not is_forecast) as miss_count,
        count_if(not is_in_sample and not is_observed and is_forecast) as false_alarm_count,
        {{ common_origin('training_origin') }} as training_origin,
        {{ common_origin('origin') }} as origin
    from scored
    group by
        station_id,
        forecaster,
        parameter_set_id,
        lead_h,
        alarm_level
),

final as (
    select
        station_id,
        forecaster,
        parameter_set_id,
        lead_h,
        alarm_level,
        forecast_count,
        in_sample_count,
        absolute_m / scored_count as mae_m,
        sqrt(squared_m2 / scored_count) as rmse_m,
        signed_m / scored_count as bias_m,
        if(persistence_m2 > 0, 1 - beside_persistence_m2 / persistence_m2, null) as persistence_skill,
        official_count,
        if(official_m2 > 0, 1 - beside_official_m2 / official_m2, null) as official_skill,
        {{ share_pct('in_band_count', 'banded_count') }} as in_band_pct,
        if(alarm_level = 0, null, hit_count) as hit_count,
        if(alarm_level = 0, null, miss_count) as miss_count,
        if(alarm_level = 0, null, false_alarm_count) as false_alarm_count,
        {{ level_share('hit_count', 'hit_count + miss_count') }} as pod,
        {{ level_share('false_alarm_count', 'hit_count + false_alarm_count') }} as far,
        {{ level_share('hit_count', 'hit_count + miss_count + false_alarm_count') }} as csi,
        training_origin,
        origin
    from sums
    where forecast_count > 0
)

select * from final
