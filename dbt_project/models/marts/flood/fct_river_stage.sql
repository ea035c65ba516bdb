with readings as (
    select
        station_id,
        origin,
        stage_m,
        qc_flag,
        {{ local_date('observed_at') }} as local_date,
        observed_at,
        received_at
    from {{ ref('stg_river_stage') }}
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

-- One row per usable reading that reaches a threshold valid on its local date: the highest level reached.
reached as (
    select
        readings.station_id,
        readings.observed_at,
        max(alarm_levels.alarm_level) as alarm_level
    from readings
    inner join alarm_levels
        on
            readings.station_id = alarm_levels.station_id
            and readings.local_date >= alarm_levels.valid_from
            and (alarm_levels.valid_to is null or readings.local_date < alarm_levels.valid_to)
            and readings.stage_m >= alarm_levels.threshold_m
    where {{ is_usable('readings.qc_flag') }}
    group by
        readings.station_id,
        readings.observed_at
),

-- Every reading stays, flagged ones too. One with qc_flag 4 or 9 is not evaluated: its alarm_level is 0 at any stage.
final as (
    select
        readings.station_id,
        readings.observed_at,
        readings.local_date,
        readings.stage_m,
        coalesce(reached.alarm_level, 0) as alarm_level,
        readings.qc_flag,
        readings.origin,
        readings.received_at
    from readings
    left join reached
        on
            readings.station_id = reached.station_id
            and readings.observed_at = reached.observed_at
)

select * from final
