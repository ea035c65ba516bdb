with code_stage_neighbours as (
    select
        station_id,
        neighbour_id
    from {{ source('silver', 'code_stage_neighbours') }}
)

select * from code_stage_neighbours
