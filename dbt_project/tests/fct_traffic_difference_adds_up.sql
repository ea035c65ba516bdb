-- All hours together hold every settled reading and vehicle, and every live one.
with difference as (
    select
        coalesce(sum(settled_reading_count), 0) as settled_reading_count,
        coalesce(sum(settled_vehicle_count), 0) as settled_vehicle_count,
        coalesce(sum(live_reading_count), 0) as live_reading_count,
        coalesce(sum(live_vehicle_count), 0) as live_vehicle_count
    from {{ ref('fct_traffic_difference') }}
),

settled as (
    select
        coalesce(sum(reading_count), 0) as reading_count,
        coalesce(sum(vehicle_count), 0) as vehicle_count
    from {{ ref('kpi_traffic_hour') }}
),

live as (
    select
        coalesce(sum(reading_count), 0) as reading_count,
        coalesce(sum(vehicle_count), 0) as vehicle_count
    from {{ ref('stg_lane_flow_1min') }}
)

select
    difference.settled_reading_count,
    settled.reading_count as readings_in_settled,
    difference.live_reading_count,
    live.reading_count as readings_in_live
from difference
cross join settled
cross join live
where
    difference.settled_reading_count <> settled.reading_count
    or difference.settled_vehicle_count <> settled.vehicle_count
    or difference.live_reading_count <> live.reading_count
    or difference.live_vehicle_count <> live.vehicle_count
