{{ config(severity='warn') }}
-- Evidence that its source would keep longer than the code list event_retention allows, whose source names no last day,
-- or whose type has no limit. It warns: the marts are right about it, and it is for the owner of the source to mend.
select
    detected_event_type,
    ward_code,
    local_date,
    overlong_count,
    without_limit_count
from {{ ref('kpi_camera_event_day') }}
where overlong_count > 0 or without_limit_count > 0
