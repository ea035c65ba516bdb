with code_share_systems as (
    select code
    from {{ source('silver', 'code_share_systems') }}
)

select * from code_share_systems
