with camera_health as (
    select
        camera_id,
        ward_code,
        origin,
        fps,
        expected_fps,
        clock_drift_s,
        qc_flag,
        is_online,
        is_frozen,
        is_blurred,
        is_obscured,
        observed_at
    from {{ source('silver', 'camera_health') }}
)

select * from camera_health
