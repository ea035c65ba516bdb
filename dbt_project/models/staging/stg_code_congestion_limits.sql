with code_congestion_limits as (
    select
        congested_speed_pct,
        congested_saturation_ratio,
        congested_volume_ratio,
        space_at_max_flow_s,
        max_flow_vehh,
        split_saturation_ratio,
        split_red_occupancy_pct,
        valid_from,
        valid_to
    from {{ source('silver', 'code_congestion_limits') }}
)

select * from code_congestion_limits
