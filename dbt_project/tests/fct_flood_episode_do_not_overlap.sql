-- An alarm is raised again only after it was cleared; only the newest one of a level may still last.
with episodes as (
    select
        *,
        lead(raised_at) over (partition by station_id, alarm_level order by raised_at) as next_raised_at
    from {{ ref('fct_flood_episode') }}
)

select
    alert_id,
    cleared_at,
    next_raised_at
from episodes
where next_raised_at is not null and (cleared_at is null or cleared_at >= next_raised_at)
