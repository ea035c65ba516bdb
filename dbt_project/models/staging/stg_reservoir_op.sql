with reservoir_op as (
    select
        reservoir_id,
        origin,
        qc_detail,
        qc_flag,
        observed_at
    from {{ source('silver', 'reservoir_op') }}
)

select * from reservoir_op
