-- The peak lies within its episode.
select
    alert_id,
    raised_at,
    peak_at,
    cleared_at
from {{ ref('fct_flood_episode') }}
where peak_at < raised_at or peak_at > coalesce(cleared_at, peak_at) or duration_h < 0
