-- Every period, one cadence of lane_class_count, is a rate of its own; the hour's flow is their mean. Factors are
-- those of the local day.
with counts as (
    select
        detector_id,
        lane_no,
        observed_at,
        date_trunc('hour', observed_at) as hour_start_at,
        {{ local_date('observed_at') }} as local_date,
        vehicle_class,
        vehicle_count,
        origin
    from {{ ref('stg_lane_class_count') }}
    where {{ is_usable('qc_flag') }}
),

classes as (
    select
        code as vehicle_class,
        cast(pcu_factor as double) as pcu_factor,
        cast(mcu_factor as double) as mcu_factor,
        valid_from,
        valid_to
    from {{ ref('stg_code_vehicle_classes') }}
),

converted as (
    select
        counts.detector_id,
        counts.lane_no,
        counts.observed_at,
        counts.hour_start_at,
        counts.vehicle_class,
        counts.vehicle_count,
        counts.vehicle_count * classes.pcu_factor as pcu,
        counts.vehicle_count * classes.mcu_factor as mcu,
        counts.origin
    from counts
    left join classes
        on
            counts.vehicle_class = classes.vehicle_class
            and {{ in_force('classes', 'counts.local_date') }}
),

hours as (
    select
        detector_id,
        lane_no,
        hour_start_at,
        count(*) as reading_count,
        3600.0D / {{ stream_setting('lane_class_count', 'cadence_s') }} / count(distinct observed_at) as per_hour,
        sum(vehicle_count) as vehicle_count,
        coalesce(sum(vehicle_count) filter (where vehicle_class = 'motorcycle'), 0) as motorcycle_count,
        coalesce(sum(vehicle_count) filter (where pcu is not null), 0) as with_pcu_count,
        coalesce(sum(vehicle_count) filter (where mcu is not null), 0) as with_mcu_count,
        sum(pcu) as pcu,
        sum(mcu) as mcu,
        {{ common_origin('origin') }} as origin
    from converted
    group by
        detector_id,
        lane_no,
        hour_start_at
),

final as (
    select
        detector_id,
        lane_no,
        hour_start_at,
        {{ local_date('hour_start_at') }} as local_date,
        reading_count,
        cast(vehicle_count as int) as vehicle_count,
        {{ share_pct('motorcycle_count', 'vehicle_count') }} as motorcycle_pct,
        vehicle_count * per_hour as flow_vehh,
        pcu * per_hour as flow_pcuh,
        mcu * per_hour as flow_mcuh,
        {{ share_pct('with_pcu_count', 'vehicle_count') }} as pcu_covered_pct,
        {{ share_pct('with_mcu_count', 'vehicle_count') }} as mcu_covered_pct,
        origin
    from hours
)

select * from final
