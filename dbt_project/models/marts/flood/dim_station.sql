with stations as (
    select
        station_id,
        station_kind,
        name_vi,
        river_name,
        ward_code,
        lon_deg,
        lat_deg
    from {{ ref('stg_code_stations') }}
),

alarm_levels as (
    select
        station_id,
        alarm_level,
        threshold_m
    from {{ ref('stg_code_alarm_levels') }}
    where valid_from <= {{ as_of_date() }} and (valid_to is null or valid_to > {{ as_of_date() }})
),

-- One row per station that has a threshold in force on the day of the run.
thresholds as (
    select
        station_id,
        max(threshold_m) filter (where alarm_level = 1) as bd1_m,
        max(threshold_m) filter (where alarm_level = 2) as bd2_m,
        max(threshold_m) filter (where alarm_level = 3) as bd3_m,
        max(threshold_m) filter (where alarm_level = 4) as record_m
    from alarm_levels
    group by station_id
),

final as (
    select
        stations.station_id,
        stations.station_kind,
        stations.name_vi,
        stations.river_name,
        stations.ward_code,
        stations.lon_deg,
        stations.lat_deg,
        thresholds.bd1_m,
        thresholds.bd2_m,
        thresholds.bd3_m,
        thresholds.record_m
    from stations
    left join thresholds on stations.station_id = thresholds.station_id
)

select * from final
