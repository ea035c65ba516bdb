-- Every alarm that the live or the settled figure knows. The two differ where readings came late or were corrected.
with settled as (
    select
        alert_id,
        station_id,
        alarm_level,
        raised_at,
        cleared_at
    from {{ ref('fct_flood_episode') }}
),

transitions as (
    select
        alert_id,
        station_id,
        transition,
        alarm_level,
        transition_at
    from {{ ref('stg_flood_alert') }}
),

-- One row per alarm that was raised live; readings that came too late to be evaluated are transitions of no alarm.
live as (
    select
        alert_id,
        max(station_id) as station_id,
        max(alarm_level) as alarm_level,
        min(transition_at) filter (where transition = 'raise') as raised_at,
        max(transition_at) filter (where transition = 'clear') as cleared_at
    from transitions
    where transition in ('raise', 'clear')
    group by alert_id
    having count_if(transition = 'raise') > 0
),

-- Times are the settled ones wherever there are any.
final as (
    select
        coalesce(settled.alert_id, live.alert_id) as alert_id,
        coalesce(settled.station_id, live.station_id) as station_id,
        coalesce(settled.alarm_level, live.alarm_level) as alarm_level,
        coalesce(settled.raised_at, live.raised_at) as raised_at,
        if(settled.alert_id is null, live.cleared_at, settled.cleared_at) as cleared_at,
        live.alert_id is not null as is_in_live,
        settled.alert_id is not null as is_in_settled
    from settled
    full outer join live on settled.alert_id = live.alert_id
)

select * from final
