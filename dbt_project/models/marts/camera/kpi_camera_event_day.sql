-- What nobody has reviewed is in no share. Evidence is kept too long when its last day is later than its type allows,
-- counted from the local day of the event. Where one of both is unknown nobody can say so: such an event has no limit.
with violations as (
    select
        violation_type as detected_event_type,
        ward_code,
        review_status,
        retained_until_date,
        {{ local_date('observed_at') }} as local_date,
        origin
    from {{ ref('stg_violation_event') }}
    where {{ is_usable('qc_flag') }}
),

ai_events as (
    select
        camera_event_type as detected_event_type,
        ward_code,
        review_status,
        retained_until_date,
        {{ local_date('observed_at') }} as local_date,
        origin
    from {{ ref('stg_ai_event') }}
    where {{ is_usable('qc_flag') }}
),

events as (
    select * from violations
    union all
    select * from ai_events
),

retention as (
    select
        code,
        retention_d
    from {{ ref('stg_code_event_retention') }}
),

days as (
    select
        events.detected_event_type,
        events.ward_code,
        events.local_date,
        count(*) as event_count,
        count_if(events.review_status in ('confirmed', 'rejected')) as reviewed_count,
        count_if(events.review_status = 'confirmed') as confirmed_count,
        count_if(events.review_status = 'rejected') as rejected_count,
        count_if(events.retained_until_date > date_add(events.local_date, retention.retention_d)) as overlong_count,
        count_if(events.retained_until_date is null or retention.retention_d is null) as without_limit_count,
        {{ common_origin('events.origin') }} as origin
    from events
    left join retention
        on events.detected_event_type = retention.code
    group by
        events.detected_event_type,
        events.ward_code,
        events.local_date
),

final as (
    select
        detected_event_type,
        ward_code,
        local_date,
        event_count,
        reviewed_count,
        confirmed_count,
        rejected_count,
        event_count - reviewed_count as pending_count,
        {{ share_pct('reviewed_count', 'event_count') }} as reviewed_pct,
        {{ share_pct('confirmed_count', 'reviewed_count') }} as confirmed_pct,
        overlong_count,
        without_limit_count,
        origin
    from days
)

select * from final
