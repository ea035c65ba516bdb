-- Nothing is in neither figure, and every settled episode is there.
with difference as (
    select
        count_if(not is_in_live and not is_in_settled) as in_neither,
        count_if(is_in_settled) as settled_count
    from {{ ref('fct_flood_alarm_difference') }}
),

episodes as (
    select count(*) as settled_count
    from {{ ref('fct_flood_episode') }}
)

select
    difference.in_neither,
    difference.settled_count as in_difference,
    episodes.settled_count as in_episodes
from difference
cross join episodes
where difference.in_neither > 0 or difference.settled_count <> episodes.settled_count
