with camera as (
    select
        camera_id,
        ward_code,
        origin,
        is_active,
        commissioned_date
    from {{ source('silver', 'camera') }}
)

select * from camera
