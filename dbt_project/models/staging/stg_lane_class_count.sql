with lane_class_count as (
    select
        detector_id,
        vehicle_class,
        origin,
        lane_no,
        vehicle_count,
        qc_flag,
        observed_at
    from {{ source('silver', 'lane_class_count') }}
)

select * from lane_class_count
