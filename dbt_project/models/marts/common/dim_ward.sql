with wards as (
    select
        ward_code,
        name_vi,
        name_en,
        unit_type,
        area_km2,
        lon_deg,
        lat_deg,
        valid_from
    from {{ ref('stg_code_wards') }}
),

-- One row per ward: the newest of its definitions that is in force on the day of the run.
in_force as (
    select
        *,
        row_number() over (partition by ward_code order by valid_from desc) as recency_no
    from wards
    where valid_from <= {{ as_of_date() }}
),

final as (
    select
        ward_code,
        name_vi,
        name_en,
        unit_type,
        area_km2,
        lon_deg,
        lat_deg,
        valid_from
    from in_force
    where recency_no = 1
)

select * from final
