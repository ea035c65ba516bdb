-- Plate token, picture and place in the picture stay in silver: no figure needs them.
with ai_event as (
    select
        camera_event_type,
        ward_code,
        review_status,
        origin,
        qc_flag,
        retained_until_date,
        observed_at
    from {{ source('silver', 'ai_event') }}
)

select * from ai_event
