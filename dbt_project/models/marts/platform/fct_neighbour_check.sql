-- The neighbour test of QARTOD, settled: in event-time order, so that it says the same whenever it is computed. A
-- reading is suspect where its window lies outside factor x median of the neighbours -/+ margin.
with river_stage as (
    select
        station_id,
        origin,
        stage_m,
        qc_flag,
        observed_at
    from {{ ref('stg_river_stage') }}
),

rain_gauge as (
    select
        station_id,
        origin,
        rain_mm,
        qc_flag,
        observed_at
    from {{ ref('stg_rain_gauge') }}
),

stage_neighbours as (
    select
        station_id,
        neighbour_id
    from {{ ref('stg_code_stage_neighbours') }}
),

rain_neighbours as (
    select
        station_id,
        neighbour_id
    from {{ ref('stg_code_rain_neighbours') }}
),

-- One row per usable reading.
measured as (
    {{ neighbour_windows('river_stage', 'river_stage', 'station_id', 'stage_m') }}
    union all
    {{ neighbour_windows('rain_gauge', 'rain_gauge', 'station_id', 'rain_mm') }}
),

neighbours as (
    select
        'river_stage' as dataset_id,
        station_id as entity_id,
        neighbour_id
    from stage_neighbours
    union all
    select
        'rain_gauge' as dataset_id,
        station_id as entity_id,
        neighbour_id
    from rain_neighbours
),

-- One row per usable reading of a station that has neighbours: what they say in the same period.
compared as (
    select
        measured.dataset_id,
        measured.entity_id,
        measured.observed_at,
        measured.field_name,
        any_value(measured.window_value) as window_value,
        percentile(neighbouring.window_value, 0.5) as neighbour_value,
        count(distinct neighbouring.entity_id) filter (where neighbouring.window_value is not null) as neighbour_count,
        any_value(measured.low_factor) as low_factor,
        any_value(measured.low_margin) as low_margin,
        any_value(measured.high_factor) as high_factor,
        any_value(measured.high_margin) as high_margin,
        any_value(measured.origin) as origin
    from measured
    inner join neighbours
        on
            measured.dataset_id = neighbours.dataset_id
            and measured.entity_id = neighbours.entity_id
    left join measured as neighbouring
        on
            neighbours.dataset_id = neighbouring.dataset_id
            and neighbours.neighbour_id = neighbouring.entity_id
            and measured.field_name = neighbouring.field_name
            and measured.period = neighbouring.period
    group by
        measured.dataset_id,
        measured.entity_id,
        measured.observed_at,
        measured.field_name
),

final as (
    select
        dataset_id,
        entity_id,
        observed_at,
        field_name,
        {{ local_date('observed_at') }} as local_date,
        window_value,
        neighbour_value,
        neighbour_count,
        case
            when window_value is null or neighbour_value is null then 2
            when window_value < low_factor * neighbour_value - low_margin then 3
            when window_value > high_factor * neighbour_value + high_margin then 3
            else 1
        end as qc_flag,
        origin
    from compared
)

select * from final
