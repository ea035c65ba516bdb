-- Plate token and picture stay in silver: no figure needs them.
with violation_event as (
    select
        violation_type,
        ward_code,
        review_status,
        origin,
        qc_flag,
        retained_until_date,
        observed_at
    from {{ source('silver', 'violation_event') }}
)

select * from violation_event
