with code_vehicle_classes as (
    select
        code,
        pcu_factor,
        mcu_factor,
        valid_from,
        valid_to
    from {{ source('silver', 'code_vehicle_classes') }}
)

select * from code_vehicle_classes
