-- All hours together hold every usable reading and every vehicle.
with hours as (
    select
        coalesce(sum(reading_count), 0) as reading_count,
        coalesce(sum(vehicle_count), 0) as vehicle_count
    from {{ ref('kpi_traffic_hour') }}
),

readings as (
    select
        count(*) as reading_count,
        coalesce(sum(vehicle_count), 0) as vehicle_count
    from {{ ref('stg_lane_minute') }}
    where {{ is_usable('qc_flag') }}
)

select
    hours.reading_count as readings_in_hours,
    readings.reading_count as readings_in_silver,
    hours.vehicle_count as vehicles_in_hours,
    readings.vehicle_count as vehicles_in_silver
from hours
cross join readings
where hours.reading_count <> readings.reading_count or hours.vehicle_count <> readings.vehicle_count
