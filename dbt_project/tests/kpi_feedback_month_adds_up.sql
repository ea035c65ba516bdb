-- Counts nest, and all months together hold every ticket.
with months as (
    select
        coalesce(sum(ticket_count), 0) as ticket_count,
        count_if(
            closed_count > ticket_count or on_time_count > closed_count
            or rated_count > ticket_count or satisfied_count > rated_count
        ) as wrong_count
    from {{ ref('kpi_feedback_month') }}
),

tickets as (
    select count(*) as ticket_count
    from {{ ref('stg_feedback_ticket') }}
)

select
    months.wrong_count,
    months.ticket_count as in_months,
    tickets.ticket_count as in_silver
from months
cross join tickets
where months.wrong_count > 0 or months.ticket_count <> tickets.ticket_count
