-- The alarm rule over readings in the order of their event time: raise at or above the threshold; clear at the first
-- reading at which the stage has been below the threshold less the hysteresis for the hold. It is the rule of the live
-- job, which sees readings in the order of arrival; where no reading came late both give the same alert_id.
with readings as (
    select
        station_id,
        observed_at,
        local_date,
        stage_m,
        origin
    from {{ ref('fct_river_stage') }}
    where {{ is_usable('qc_flag') }} and stage_m is not null
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

-- One row per usable reading and level whose threshold is valid on its local date; without one it changes nothing.
evaluated as (
    select
        readings.station_id,
        alarm_levels.alarm_level,
        readings.observed_at,
        readings.stage_m,
        readings.origin,
        readings.stage_m >= alarm_levels.threshold_m as is_at_threshold,
        readings.stage_m < alarm_levels.threshold_m - {{ var('flood_hysteresis_m') }} as is_below
    from readings
    inner join alarm_levels
        on
            readings.station_id = alarm_levels.station_id
            and readings.local_date >= alarm_levels.valid_from
            and (alarm_levels.valid_to is null or readings.local_date < alarm_levels.valid_to)
),

-- The number grows with every reading that is not below, so that consecutive readings below share one.
runs as (
    select
        *,
        count_if(not is_below) over (partition by station_id, alarm_level order by observed_at) as run_no
    from evaluated
),

below as (
    select
        *,
        min(if(is_below, observed_at, null)) over (
            partition by station_id, alarm_level, run_no
        ) as below_since_at
    from runs
),

signals as (
    select
        *,
        case
            when is_at_threshold then 'raise'
            when
                is_below
                and observed_at >= below_since_at + interval '{{ var("flood_hold_minutes") }}' minute
                then 'clear'
        end as alarm_signal
    from below
),

-- The state after a reading is the last signal up to it; the state before, the last one ahead of it.
states as (
    select
        *,
        last_value(alarm_signal, true) over (
            partition by station_id, alarm_level order by observed_at
            rows between unbounded preceding and current row
        ) as alarm_state,
        last_value(alarm_signal, true) over (
            partition by station_id, alarm_level order by observed_at
            rows between unbounded preceding and 1 preceding
        ) as alarm_state_before
    from signals
),

-- One row per reading within an episode, the clearing one included.
members as (
    select
        station_id,
        alarm_level,
        observed_at,
        stage_m,
        origin,
        alarm_state,
        count_if(alarm_state_before is null or alarm_state_before = 'clear') over (
            partition by station_id, alarm_level order by observed_at
        ) as episode_no
    from states
    where alarm_state = 'raise' or alarm_state_before = 'raise'
),

episodes as (
    select
        station_id,
        alarm_level,
        min(observed_at) as raised_at,
        max(if(alarm_state = 'clear', observed_at, null)) as cleared_at,
        max(observed_at) as last_observed_at,
        max(stage_m) as peak_stage_m,
        min_by(observed_at, struct(-stage_m, observed_at)) as peak_at,
        {{ common_origin('origin') }} as origin
    from members
    group by
        station_id,
        alarm_level,
        episode_no
),

-- An episode that lasts has the duration until its newest reading. Its id begins with the rule in small letters, as the
-- live job names it: bd1, bd2, bd3, and record for level 4.
final as (
    select
        concat(
            if(alarm_level = 4, 'record', concat('bd', alarm_level)), '|', station_id, '|', {{ iso_instant('raised_at') }}
        ) as alert_id,
        station_id,
        alarm_level,
        raised_at,
        cleared_at,
        peak_stage_m,
        peak_at,
        {{ hours_between('raised_at', 'coalesce(cleared_at, last_observed_at)') }} as duration_h,
        origin
    from episodes
)

select * from final
