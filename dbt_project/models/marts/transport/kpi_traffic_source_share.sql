-- Integrated is what the register calls done; a source that was given up is in neither side of the share. Beside it
-- stands what the platform itself knows: of the sources that are done, those whose device was heard within the
-- freshness that device_heartbeat promises, as of the newest heartbeat that the run reads. A build knows no other
-- clock.
with sources as (
    select
        agency_id,
        traffic_source_kind,
        work_status,
        device_id,
        origin
    from {{ ref('stg_traffic_source') }}
),

heartbeats as (
    select
        device_id,
        observed_at
    from {{ ref('stg_device_heartbeat') }}
),

indicator as (
    select
        code,
        target_pct
    from {{ ref('stg_code_indicators') }}
    where code = 'traffic_iot_integrated'
),

newest as (
    select max(observed_at) as heard_as_of_at
    from heartbeats
),

devices as (
    select
        device_id,
        max(observed_at) as last_heard_at
    from heartbeats
    group by device_id
),

heard as (
    select
        sources.agency_id,
        sources.traffic_source_kind,
        sources.work_status,
        sources.device_id,
        sources.origin,
        unix_micros(newest.heard_as_of_at) - unix_micros(devices.last_heard_at)
        <= {{ stream_setting('device_heartbeat', 'freshness_s') }} * 1000000L as is_heard
    from sources
    cross join newest
    left join devices
        on sources.device_id = devices.device_id
),

counted as (
    select
        agency_id,
        traffic_source_kind,
        count_if(work_status <> 'cancelled') as inventoried_count,
        count_if(work_status = 'done') as integrated_count,
        count_if(work_status = 'done' and device_id is not null) as integrated_device_count,
        count_if(work_status = 'done' and is_heard) as integrated_heard_count,
        {{ common_origin('origin') }} as origin
    from heard
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
        counted.integrated_device_count,
        counted.integrated_heard_count,
        {{ share_pct('counted.integrated_heard_count', 'counted.inventoried_count') }} as integrated_heard_pct,
        newest.heard_as_of_at,
        indicator.target_pct,
        counted.origin
    from counted
    cross join indicator
    cross join newest
)

select * from final
