-- Every reading has one flag, and every reading of silver is in one day of one entity.
with days as (
    select
        dataset_id,
        sum(reading_count) as reading_count,
        sum(pass_count + not_evaluated_count + suspect_count + fail_count + missing_count) as flag_count
    from {{ ref('kpi_sensor_quality') }}
    group by dataset_id
),

silver as (
    {{ flagged_readings() }}
),

readings as (
    select
        dataset_id,
        count(*) as reading_count
    from silver
    group by dataset_id
)

select
    days.dataset_id,
    days.reading_count as readings_in_days,
    days.flag_count as flags_in_days,
    readings.reading_count as readings_in_silver
from days
full outer join readings
    on days.dataset_id = readings.dataset_id
where days.reading_count <> days.flag_count or not (days.reading_count <=> readings.reading_count)
