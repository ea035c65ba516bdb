-- A cycle goes from one green of a phase to its next; the last one is still open and not here. A length that no cycle
-- has, or other than one end of green, says that events were lost: such a cycle is kept, without figures.
with events as (
    select
        junction_id,
        phase_no,
        signal_event_type,
        observed_at,
        cast(interval_s as double) as interval_s,
        cast(space_s as double) as space_s,
        vehicle_count,
        red_occupancy_pct,
        origin
    from {{ ref('stg_signal_event') }}
    where {{ is_usable('qc_flag') }} and signal_event_type in ('green_start', 'amber_start', 'red_start')
),

limits as (
    select
        space_at_max_flow_s,
        max_flow_vehh,
        congested_saturation_ratio,
        congested_volume_ratio,
        split_saturation_ratio,
        split_red_occupancy_pct,
        valid_from,
        valid_to
    from {{ ref('stg_code_congestion_limits') }}
),

numbered as (
    select
        *,
        count_if(signal_event_type = 'green_start') over (
            partition by junction_id, phase_no
            order by observed_at, signal_event_type = 'green_start' desc
        ) as cycle_no
    from events
),

cycles as (
    select
        junction_id,
        phase_no,
        min(observed_at) as cycle_start_at,
        count_if(signal_event_type = 'amber_start') as amber_count,
        max(interval_s) filter (where signal_event_type = 'amber_start') as green_s,
        max(space_s) filter (where signal_event_type = 'amber_start') as space_s,
        max(vehicle_count) filter (where signal_event_type = 'amber_start') as vehicle_count,
        max(red_occupancy_pct) filter (where signal_event_type = 'red_start') as red_occupancy_pct,
        {{ common_origin('origin') }} as origin
    from numbered
    where cycle_no > 0
    group by
        junction_id,
        phase_no,
        cycle_no
),

followed as (
    select
        *,
        lead(cycle_start_at) over (partition by junction_id, phase_no order by cycle_start_at) as next_start_at
    from cycles
),

measured as (
    select
        *,
        {{ hours_between('cycle_start_at', 'next_start_at') }} * 3600 as cycle_s
    from followed
),

closed as (
    select
        *,
        {{ local_date('cycle_start_at') }} as local_date,
        coalesce(
            cycle_s between {{ var('signal_cycle_shortest_s') }} and {{ var('signal_cycle_longest_s') }}
            and amber_count = 1
            and green_s between 0 and cycle_s,
            false
        ) as is_complete
    from measured
    where cycle_s is not null
),

-- Only what a complete cycle says is a figure; the free time lies within the green.
known as (
    select
        closed.junction_id,
        closed.phase_no,
        closed.cycle_start_at,
        closed.local_date,
        closed.is_complete,
        if(closed.is_complete, closed.cycle_s, null) as cycle_s,
        if(closed.is_complete, closed.green_s, null) as green_s,
        if(closed.is_complete, closed.vehicle_count, null) as vehicle_count,
        case
            when closed.is_complete and closed.green_s > 0 and closed.space_s between 0 and closed.green_s
                then closed.space_s
        end as space_s,
        if(closed.is_complete, closed.red_occupancy_pct, null) as red_occupancy_pct,
        closed.origin,
        limits.space_at_max_flow_s,
        limits.max_flow_vehh,
        limits.congested_saturation_ratio,
        limits.congested_volume_ratio,
        limits.split_saturation_ratio,
        limits.split_red_occupancy_pct
    from closed
    left join limits
        on {{ in_force('limits', 'closed.local_date') }}
),

-- SCATS, as in the live signal_green: the used green is what is not free time in excess of the space between vehicles.
saturated as (
    select
        *,
        (green_s - space_s + vehicle_count * space_at_max_flow_s) / green_s as degree_of_saturation,
        (green_s - space_s + vehicle_count * space_at_max_flow_s) * max_flow_vehh / 3600 / nullif(vehicle_count, 0)
            as volume_ratio
    from known
),

final as (
    select
        junction_id,
        phase_no,
        cycle_start_at,
        local_date,
        is_complete,
        cast(cycle_s as decimal(9, 1)) as cycle_s,
        cast(green_s as decimal(9, 1)) as green_s,
        vehicle_count,
        degree_of_saturation,
        volume_ratio,
        red_occupancy_pct,
        case
            when degree_of_saturation is not null and red_occupancy_pct is not null
                then
                    degree_of_saturation >= split_saturation_ratio
                    and red_occupancy_pct >= split_red_occupancy_pct
        end as is_split_failure,
        degree_of_saturation > congested_saturation_ratio
        and (vehicle_count = 0 or volume_ratio > congested_volume_ratio) as is_congested,
        origin
    from saturated
)

select * from final
