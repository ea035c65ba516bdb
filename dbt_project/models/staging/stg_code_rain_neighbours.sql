with code_rain_neighbours as (
    select
        station_id,
        neighbour_id
    from {{ source('silver', 'code_rain_neighbours') }}
)

select * from code_rain_neighbours
