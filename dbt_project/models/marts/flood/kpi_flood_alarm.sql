-- Hours above a level are a step function: a reading stands until the station's next one, at most for the hold of
-- `flood_reading_hold_minutes`, and belongs wholly to the local day on which it was taken (so a day can have up to
-- 24 h plus that hold). Only usable readings count; a day without any has no row.
with readings as (
    select
        station_id,
        observed_at,
        local_date,
        stage_m,
        alarm_level,
        origin
    from {{ ref('fct_river_stage') }}
    where {{ is_usable('qc_flag') }} and stage_m is not null
),

episodes as (
    select
        station_id,
        raised_at
    from {{ ref('fct_flood_episode') }}
),

held as (
    select
        *,
        least(
            coalesce(
                unix_micros(lead(observed_at) over (partition by station_id order by observed_at))
                - unix_micros(observed_at),
                {{ var('flood_reading_hold_minutes') }} * 60000000L
            ),
            {{ var('flood_reading_hold_minutes') }} * 60000000L
        ) as held_us
    from readings
),

days as (
    select
        station_id,
        local_date,
        count(*) as reading_count,
        max(stage_m) as peak_stage_m,
        min_by(observed_at, struct(-stage_m, observed_at)) as peak_at,
        coalesce(sum(held_us) filter (where alarm_level >= 1), 0) / 3600000000.0D as above_bd1_h,
        coalesce(sum(held_us) filter (where alarm_level >= 2), 0) / 3600000000.0D as above_bd2_h,
        coalesce(sum(held_us) filter (where alarm_level >= 3), 0) / 3600000000.0D as above_bd3_h,
        coalesce(sum(held_us) filter (where alarm_level >= 4), 0) / 3600000000.0D as above_record_h,
        {{ common_origin('origin') }} as origin
    from held
    group by
        station_id,
        local_date
),

raised as (
    select
        station_id,
        {{ local_date('raised_at') }} as local_date,
        count(*) as episode_count
    from episodes
    group by
        station_id,
        {{ local_date('raised_at') }}
),

final as (
    select
        days.station_id,
        days.local_date,
        days.reading_count,
        days.peak_stage_m,
        days.peak_at,
        days.above_bd1_h,
        days.above_bd2_h,
        days.above_bd3_h,
        days.above_record_h,
        coalesce(raised.episode_count, 0) as episode_count,
        days.origin
    from days
    left join raised
        on
            days.station_id = raised.station_id
            and days.local_date = raised.local_date
)

select * from final
