-- Every forecast is scored once at level 0 or left out as in sample, and at a level it is a hit, a miss, a false alarm
-- or rightly silent: never more than there are.
with forecasts as (
    select count(*) as forecast_count
    from {{ ref('fct_flood_forecast') }}
    where not is_in_sample
),

scores as (
    select
        sum(forecast_count) filter (where alarm_level = 0) as forecast_count,
        count_if(hit_count + miss_count + false_alarm_count > forecast_count) as wrong_count
    from {{ ref('kpi_flood_forecast') }}
)

select
    forecasts.forecast_count,
    scores.forecast_count as scored_count,
    scores.wrong_count
from forecasts
cross join scores
where forecasts.forecast_count <> coalesce(scores.forecast_count, 0) or scores.wrong_count > 0
