with code_event_retention as (
    select
        code,
        retention_d
    from {{ source('silver', 'code_event_retention') }}
)

select * from code_event_retention
