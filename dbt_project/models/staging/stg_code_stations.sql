with code_stations as (
    select
        station_id,
        station_kind,
        name_vi,
        river_name,
        ward_code,
        lon_deg,
        lat_deg
    from {{ source('silver', 'code_stations') }}
)

select * from code_stations
