-- A ticket counts in the local month in which it was created. Shares are empty where there is nothing to divide by.
with tickets as (
    select
        agency_id,
        cast(trunc({{ local_date('created_at') }}, 'MM') as date) as month_start_date,
        ticket_status = 'closed' as is_closed,
        rating,
        created_at,
        due_at,
        closed_at,
        origin
    from {{ ref('stg_feedback_ticket') }}
),

months as (
    select
        agency_id,
        month_start_date,
        count(*) as ticket_count,
        count_if(is_closed) as closed_count,
        count_if(is_closed and closed_at <= due_at) as on_time_count,
        count(rating) as rated_count,
        count_if(rating >= 4) as satisfied_count,
        avg({{ hours_between('created_at', 'closed_at') }}) filter (where is_closed) as mean_handling_h,
        {{ common_origin('origin') }} as origin
    from tickets
    group by
        agency_id,
        month_start_date
),

final as (
    select
        agency_id,
        month_start_date,
        ticket_count,
        closed_count,
        on_time_count,
        rated_count,
        satisfied_count,
        {{ share_pct('closed_count', 'ticket_count') }} as processed_pct,
        {{ share_pct('on_time_count', 'closed_count') }} as on_time_pct,
        {{ share_pct('satisfied_count', 'rated_count') }} as satisfied_pct,
        mean_handling_h,
        origin
    from months
)

select * from final
