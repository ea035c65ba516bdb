with river_stage as (
    select
        station_id,
        origin,
        stage_m,
        qc_flag,
        observed_at,
        received_at
    from {{ source('silver', 'river_stage') }}
)

select * from river_stage
