with code_indicators as (
    select
        code,
        target_pct
    from {{ source('silver', 'code_indicators') }}
)

select * from code_indicators
