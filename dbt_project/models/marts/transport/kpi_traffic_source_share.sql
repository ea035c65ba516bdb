-- Integrated is what the register calls done; a source that was given up is in neither side of the share.
with sources as (
    select
        agency_id,
        traffic_source_kind,
        work_status,
        origin
    from {{ ref('stg_traffic_source') }}
),

indicator as (
    select
        code,
        target_pct
    from {{ ref('stg_code_indicators') }}
    where code = 'traffic_iot_integrated'
),

counted as (
    select
        agency_id,
        traffic_source_kind,
        count_if(work_status <> 'cancelled') as inventoried_count,
        count_if(work_status = 'done') as integrated_count,
        {{ common_origin('origin') }} as origin
    from sources
    group by
        agency_id,
        traffic_source_kind
),

final as (
    select
        counted.agency_id,
        counted.traffic_source_kind,
        indicator.code as indicator_code,
        counted.inventoried_count,
        counted.integrated_count,
        {{ share_pct('counted.integrated_count', 'counted.inventoried_count') }} as integrated_pct,
        indicator.target_pct,
        counted.origin
    from counted
    cross join indicator
)

select * from final
