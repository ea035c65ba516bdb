with code_levels_of_service as (
    select
        code,
        max_delay_s,
        valid_from,
        valid_to
    from {{ source('silver', 'code_levels_of_service') }}
)

select * from code_levels_of_service
