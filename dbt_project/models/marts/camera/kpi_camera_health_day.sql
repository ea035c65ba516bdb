-- The minutes of the day are those in which at least one camera reported: where the platform itself was silent nothing
-- is expected, and a camera that is silent alone is offline. A minute that was reported twice is online when one report
-- says so. An outage lies between two online minutes of a camera, or before its first or after its last one.
with register as (
    select
        camera_id,
        ward_code,
        commissioned_date
    from {{ ref('stg_camera') }}
    where is_active
),

reports as (
    select
        camera_id,
        ward_code,
        date_trunc('minute', observed_at) as minute_at,
        fps,
        expected_fps,
        clock_drift_s,
        is_online,
        is_frozen,
        is_blurred,
        is_obscured,
        origin
    from {{ ref('stg_camera_health') }}
    where {{ is_usable('qc_flag') }}
),

minutes as (
    select
        minute_at,
        {{ local_date('minute_at') }} as local_date,
        row_number() over (order by minute_at) as minute_no
    from (select distinct minute_at from reports) as heard
),

days as (
    select
        local_date,
        count(*) as expected_minute_count
    from minutes
    group by local_date
),

reporting as (
    select
        camera_id,
        max_by(ward_code, minute_at) as ward_code,
        min({{ local_date('minute_at') }}) as first_report_date
    from reports
    group by camera_id
),

history as (
    select
        min(local_date) as first_date,
        max(minute_no) as last_no
    from minutes
),

-- The active cameras of the register, and whatever else reports; in service since one of both says so.
cameras as (
    select
        coalesce(register.camera_id, reporting.camera_id) as camera_id,
        coalesce(register.ward_code, reporting.ward_code) as ward_code,
        coalesce(least(register.commissioned_date, reporting.first_report_date), history.first_date) as in_service_date,
        history.last_no
    from register
    full join reporting
        on register.camera_id = reporting.camera_id
    cross join history
),

first_minutes as (
    select
        cameras.camera_id,
        min(minutes.minute_no) as first_no
    from cameras
    inner join minutes
        on cameras.in_service_date <= minutes.local_date
    group by cameras.camera_id
),

camera_minutes as (
    select
        camera_id,
        minute_at,
        bool_or(is_online) as is_online,
        avg(fps / nullif(expected_fps, 0)) filter (where is_online) as fps_ratio,
        bool_or(is_frozen) filter (where is_online) as is_frozen,
        bool_or(is_blurred) filter (where is_online) as is_blurred,
        bool_or(is_obscured) filter (where is_online) as is_obscured,
        max(abs(clock_drift_s)) as clock_drift_s,
        {{ common_origin('origin') }} as origin
    from reports
    group by
        camera_id,
        minute_at
),

numbered as (
    select
        camera_minutes.*,
        minutes.local_date,
        minutes.minute_no
    from camera_minutes
    inner join minutes
        on camera_minutes.minute_at = minutes.minute_at
),

-- One row per online minute, and one behind the last minute: between two of them the camera was away.
online_minutes as (
    select
        camera_id,
        minute_no,
        true as is_online
    from numbered
    where is_online
    union all
    select
        camera_id,
        last_no + 1 as minute_no,
        false as is_online
    from cameras
),

gaps as (
    select
        online_minutes.camera_id,
        online_minutes.minute_no as back_no,
        online_minutes.is_online as is_repaired,
        coalesce(
            lag(online_minutes.minute_no) over (
                partition by online_minutes.camera_id
                order by online_minutes.minute_no
            ) + 1,
            first_minutes.first_no
        ) as away_no
    from online_minutes
    inner join first_minutes
        on online_minutes.camera_id = first_minutes.camera_id
),

outages as (
    select
        gaps.camera_id,
        gaps.is_repaired,
        gaps.back_no - gaps.away_no as outage_min,
        away.local_date as began_date,
        back.local_date as ended_date
    from gaps
    inner join minutes as away
        on gaps.away_no = away.minute_no
    left join minutes as back
        on gaps.back_no = back.minute_no
    where gaps.back_no > gaps.away_no
),

began as (
    select
        camera_id,
        began_date as local_date,
        count(*) as outage_count
    from outages
    group by
        camera_id,
        began_date
),

repaired as (
    select
        camera_id,
        ended_date as local_date,
        count(*) as repaired_count,
        avg(outage_min) as mttr_min
    from outages
    where is_repaired
    group by
        camera_id,
        ended_date
),

reported as (
    select
        camera_id,
        local_date,
        count(*) as reported_minute_count,
        count_if(is_online) as online_minute_count,
        100 * avg(fps_ratio) as fps_ratio_pct,
        count(is_frozen) as frozen_judged_minute_count,
        count_if(is_frozen) as frozen_minute_count,
        count(is_blurred) as blurred_judged_minute_count,
        count_if(is_blurred) as blurred_minute_count,
        count(is_obscured) as obscured_judged_minute_count,
        count_if(is_obscured) as obscured_minute_count,
        max(clock_drift_s) as max_clock_drift_s,
        {{ common_origin('origin') }} as origin
    from numbered
    group by
        camera_id,
        local_date
),

fleet_origin as (
    select
        local_date,
        {{ common_origin('origin') }} as origin
    from numbered
    group by local_date
),

-- Every camera that was in service has a row for every day on which the platform heard of any.
final as (
    select
        cameras.camera_id,
        days.local_date,
        cameras.ward_code,
        days.expected_minute_count,
        coalesce(reported.reported_minute_count, 0) as reported_minute_count,
        coalesce(reported.online_minute_count, 0) as online_minute_count,
        {{ share_pct('coalesce(reported.online_minute_count, 0)', 'days.expected_minute_count') }} as online_pct,
        reported.fps_ratio_pct,
        coalesce(reported.frozen_judged_minute_count, 0) as frozen_judged_minute_count,
        coalesce(reported.frozen_minute_count, 0) as frozen_minute_count,
        {{ share_pct('reported.frozen_minute_count', 'reported.frozen_judged_minute_count') }} as frozen_pct,
        coalesce(reported.blurred_judged_minute_count, 0) as blurred_judged_minute_count,
        coalesce(reported.blurred_minute_count, 0) as blurred_minute_count,
        {{ share_pct('reported.blurred_minute_count', 'reported.blurred_judged_minute_count') }} as blurred_pct,
        coalesce(reported.obscured_judged_minute_count, 0) as obscured_judged_minute_count,
        coalesce(reported.obscured_minute_count, 0) as obscured_minute_count,
        {{ share_pct('reported.obscured_minute_count', 'reported.obscured_judged_minute_count') }} as obscured_pct,
        reported.max_clock_drift_s,
        coalesce(began.outage_count, 0) as outage_count,
        coalesce(repaired.repaired_count, 0) as repaired_count,
        repaired.mttr_min,
        coalesce(reported.origin, fleet_origin.origin) as origin
    from cameras
    inner join days
        on cameras.in_service_date <= days.local_date
    inner join fleet_origin
        on days.local_date = fleet_origin.local_date
    left join reported
        on
            cameras.camera_id = reported.camera_id
            and days.local_date = reported.local_date
    left join began
        on
            cameras.camera_id = began.camera_id
            and days.local_date = began.local_date
    left join repaired
        on
            cameras.camera_id = repaired.camera_id
            and days.local_date = repaired.local_date
)

select * from final
