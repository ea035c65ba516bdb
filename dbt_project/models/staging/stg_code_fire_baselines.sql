with code_fire_baselines as (
    select
        fire_kind,
        baseline_suspected_count,
        baseline_verified_count
    from {{ source('silver', 'code_fire_baselines') }}
)

select * from code_fire_baselines
