-- Control delay of a phase by the HCM (pre-timed signal, no initial queue, no progression): uniform delay
-- 0.5 C (1 - g/C)² / (1 - min(1, X) g/C) and incremental delay 900 T ((X - 1) + √((X - 1)² + 8 k I X / (c T))) with
-- T = 0.25 h, k = 0.5, I = 1; capacity c = saturation flow × g/C, X = volume over capacity.
with cycles as (
    select
        junction_id,
        phase_no,
        date_trunc('hour', cycle_start_at) as hour_start_at,
        is_complete,
        cast(cycle_s as double) as cycle_s,
        cast(green_s as double) as green_s,
        vehicle_count,
        is_split_failure,
        origin
    from {{ ref('kpi_signal_cycle') }}
),

limits as (
    select
        max_flow_vehh,
        valid_from,
        valid_to
    from {{ ref('stg_code_congestion_limits') }}
),

levels as (
    select
        code,
        coalesce(max_delay_s, double('infinity')) as max_delay_s,
        valid_from,
        valid_to
    from {{ ref('stg_code_levels_of_service') }}
),

-- Volume and capacity rest on the cycles that counted.
phases as (
    select
        junction_id,
        phase_no,
        hour_start_at,
        {{ local_date('hour_start_at') }} as local_date,
        avg(cycle_s) as cycle_s,
        avg(green_s) as green_s,
        sum(vehicle_count) as vehicle_count,
        sum(vehicle_count) * 3600 / sum(cycle_s) as volume_vehh
    from cycles
    where is_complete and vehicle_count is not null
    group by
        junction_id,
        phase_no,
        hour_start_at
),

loaded as (
    select
        phases.*,
        limits.max_flow_vehh * phases.green_s / phases.cycle_s as capacity_vehh,
        phases.volume_vehh / nullif(limits.max_flow_vehh * phases.green_s / phases.cycle_s, 0) as volume_capacity_ratio,
        phases.green_s / phases.cycle_s as green_ratio
    from phases
    left join limits
        on {{ in_force('limits', 'phases.local_date') }}
),

delayed as (
    select
        *,
        0.5 * cycle_s * pow(1 - green_ratio, 2) / nullif(1 - least(1.0D, volume_capacity_ratio) * green_ratio, 0)
        + 900 * 0.25 * (
            volume_capacity_ratio - 1
            + sqrt(pow(volume_capacity_ratio - 1, 2) + 8 * 0.5 * volume_capacity_ratio / (capacity_vehh * 0.25))
        ) as control_delay_s
    from loaded
),

junction_delays as (
    select
        junction_id,
        hour_start_at,
        sum(vehicle_count) as vehicle_count,
        max(volume_capacity_ratio) as volume_capacity_ratio,
        sum(control_delay_s * vehicle_count) / nullif(sum(vehicle_count) filter (where control_delay_s is not null), 0)
            as control_delay_s
    from delayed
    group by
        junction_id,
        hour_start_at
),

hours as (
    select
        junction_id,
        hour_start_at,
        {{ local_date('hour_start_at') }} as local_date,
        count(distinct if(is_complete, phase_no, null)) as active_phase_count,
        count_if(is_complete) as cycle_count,
        count_if(not is_complete) as broken_cycle_count,
        avg(cycle_s) as mean_cycle_s,
        avg(green_s) as mean_green_s,
        count(is_split_failure) as split_measured_count,
        count_if(is_split_failure) as split_failure_count,
        {{ common_origin('origin') }} as origin
    from cycles
    group by
        junction_id,
        hour_start_at
),

joined as (
    select
        hours.*,
        junction_delays.vehicle_count,
        junction_delays.volume_capacity_ratio,
        junction_delays.control_delay_s
    from hours
    left join junction_delays
        on
            hours.junction_id = junction_delays.junction_id
            and hours.hour_start_at = junction_delays.hour_start_at
),

rated as (
    select
        joined.junction_id,
        joined.hour_start_at,
        min_by(levels.code, levels.max_delay_s) as level_of_service
    from joined
    inner join levels
        on
            joined.control_delay_s <= levels.max_delay_s
            and {{ in_force('levels', 'joined.local_date') }}
    group by
        joined.junction_id,
        joined.hour_start_at
),

final as (
    select
        joined.junction_id,
        joined.hour_start_at,
        joined.local_date,
        joined.active_phase_count,
        joined.cycle_count,
        joined.broken_cycle_count,
        joined.mean_cycle_s,
        joined.mean_green_s,
        cast(joined.vehicle_count as int) as vehicle_count,
        joined.volume_capacity_ratio,
        joined.control_delay_s,
        rated.level_of_service,
        joined.split_measured_count,
        joined.split_failure_count,
        {{ share_pct('joined.split_failure_count', 'joined.split_measured_count') }} as split_failure_pct,
        joined.origin
    from joined
    left join rated
        on
            joined.junction_id = rated.junction_id
            and joined.hour_start_at = rated.hour_start_at
)

select * from final
