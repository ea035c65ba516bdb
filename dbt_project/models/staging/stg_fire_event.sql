with fire_event as (
    select
        fire_kind,
        ward_code,
        review_status,
        origin,
        burnt_ha,
        qc_flag,
        observed_at
    from {{ source('silver', 'fire_event') }}
)

select * from fire_event
