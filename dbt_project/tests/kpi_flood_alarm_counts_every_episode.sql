-- Every settled episode begins on exactly one day of its station.
with days as (
    select coalesce(sum(episode_count), 0) as episode_count
    from {{ ref('kpi_flood_alarm') }}
),

episodes as (
    select count(*) as episode_count
    from {{ ref('fct_flood_episode') }}
)

select
    days.episode_count as counted_by_day,
    episodes.episode_count as episodes
from days
cross join episodes
where days.episode_count <> episodes.episode_count
