-- The tokens and the text of the ticket stay in silver: no figure needs them.
with feedback_ticket as (
    select
        ticket_id,
        agency_id,
        ticket_status,
        origin,
        rating,
        created_at,
        due_at,
        closed_at
    from {{ source('silver', 'feedback_ticket') }}
)

select * from feedback_ticket
