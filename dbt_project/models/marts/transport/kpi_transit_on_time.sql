-- Positions name the stop that the bus goes to, so that the last one towards a stop is its arrival. The timetable
-- counts seconds from midnight of the day of service; the day is that whose timetable is nearest.
with positions as (
    select
        vehicle_id,
        trip_id,
        stop_id,
        route_id,
        delay_s,
        from_utc_timestamp(observed_at, 'Asia/Ho_Chi_Minh') as local_at,
        origin
    from {{ ref('stg_vehicle_position') }}
    where {{ is_usable('qc_flag') }} and trip_id is not null and stop_id is not null
),

stop_times as (
    select
        trip_id,
        stop_id,
        stop_sequence,
        arrival_s
    from {{ ref('stg_gtfs_stop_time') }}
),

trips as (
    select
        trip_id,
        route_id,
        gtfs_service_id
    from {{ ref('stg_gtfs_trip') }}
),

calendars as (
    select
        gtfs_service_id,
        array(is_monday, is_tuesday, is_wednesday, is_thursday, is_friday, is_saturday, is_sunday) as runs_on,
        service_start_date,
        service_end_date
    from {{ ref('stg_gtfs_calendar') }}
),

compared as (
    select
        positions.*,
        stop_times.stop_sequence,
        stop_times.arrival_s,
        to_date(positions.local_at - make_dt_interval(0, -12, 0, stop_times.arrival_s)) as service_date
    from positions
    left join stop_times
        on
            positions.trip_id = stop_times.trip_id
            and positions.stop_id = stop_times.stop_id
),

timed as (
    select
        *,
        unix_seconds(local_at) - unix_seconds(cast(service_date as timestamp)) - arrival_s as timetable_delay_s
    from compared
),

-- A trip may pass a stop twice: a position belongs to the nearer time. Far from the timetable it belongs to another
-- run.
ranked as (
    select
        *,
        row_number() over (partition by vehicle_id, local_at order by abs(timetable_delay_s) nulls last) as nearness,
        coalesce(
            timetable_delay_s between {{ var('transit_earliest_match_s') }} and {{ var('transit_latest_match_s') }},
            false
        ) as is_match
    from timed
),

matched as (
    select
        trip_id,
        stop_id,
        route_id,
        local_at,
        origin,
        if(is_match, stop_sequence, null) as stop_sequence,
        if(is_match, service_date, to_date(local_at)) as local_date,
        if(is_match, timetable_delay_s, delay_s) as delay_s
    from ranked
    where nearness = 1
),

arrivals as (
    select
        trip_id,
        stop_id,
        stop_sequence,
        local_date,
        max_by(route_id, local_at) as route_id,
        max_by(delay_s, local_at) as delay_s,
        {{ common_origin('origin') }} as origin
    from matched
    group by
        trip_id,
        stop_id,
        stop_sequence,
        local_date
),

visits as (
    select
        arrivals.trip_id,
        arrivals.stop_sequence,
        arrivals.local_date,
        coalesce(trips.route_id, arrivals.route_id) as route_id,
        arrivals.delay_s,
        arrivals.origin
    from arrivals
    left join trips
        on arrivals.trip_id = trips.trip_id
),

days as (
    select distinct local_date
    from visits
),

scheduled as (
    select
        days.local_date,
        trips.route_id,
        trips.trip_id,
        stop_times.stop_sequence
    from days
    inner join calendars
        on
            days.local_date between calendars.service_start_date and calendars.service_end_date
            and element_at(calendars.runs_on, weekday(days.local_date) + 1)
    inner join trips
        on calendars.gtfs_service_id = trips.gtfs_service_id
    inner join stop_times
        on trips.trip_id = stop_times.trip_id
),

expected as (
    select
        scheduled.route_id,
        scheduled.local_date,
        count(*) as scheduled_arrival_count,
        count(visits.trip_id) as observed_arrival_count
    from scheduled
    left join visits
        on
            scheduled.trip_id = visits.trip_id
            and scheduled.local_date = visits.local_date
            and scheduled.stop_sequence = visits.stop_sequence
    group by
        scheduled.route_id,
        scheduled.local_date
),

punctuality as (
    select
        route_id,
        local_date,
        count(*) as arrival_count,
        count(delay_s) as timed_arrival_count,
        count_if(delay_s between {{ var('transit_early_s') }} and {{ var('transit_late_s') }}) as punctual_count,
        count_if(delay_s < {{ var('transit_early_s') }}) as early_count,
        count_if(delay_s > {{ var('transit_late_s') }}) as late_count,
        avg(delay_s) as mean_delay_s,
        {{ common_origin('origin') }} as origin
    from visits
    where route_id is not null
    group by
        route_id,
        local_date
),

final as (
    select
        punctuality.route_id,
        punctuality.local_date,
        coalesce(expected.scheduled_arrival_count, 0) as scheduled_arrival_count,
        punctuality.arrival_count,
        {{ share_pct('expected.observed_arrival_count', 'expected.scheduled_arrival_count') }} as observed_arrival_pct,
        punctuality.timed_arrival_count,
        punctuality.punctual_count,
        punctuality.early_count,
        punctuality.late_count,
        {{ share_pct('punctuality.punctual_count', 'punctuality.timed_arrival_count') }} as punctual_pct,
        punctuality.mean_delay_s,
        punctuality.origin
    from punctuality
    left join expected
        on
            punctuality.route_id = expected.route_id
            and punctuality.local_date = expected.local_date
)

select * from final
