with code_wards as (
    select
        ward_code,
        name_vi,
        name_en,
        unit_type,
        area_km2,
        lon_deg,
        lat_deg,
        valid_from
    from {{ source('silver', 'code_wards') }}
)

select * from code_wards
