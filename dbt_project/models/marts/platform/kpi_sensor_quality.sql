-- One row per entity and local day. Flags are those of the readings in silver, as they were said on arrival; the
-- comparison with neighbours is settled and stands beside them.
with readings as (
    {{ flagged_readings() }}
),

neighbour_checks as (
    select
        dataset_id,
        entity_id,
        local_date,
        qc_flag
    from {{ ref('fct_neighbour_check') }}
),

days as (
    select
        dataset_id,
        entity_id,
        {{ local_date('observed_at') }} as local_date,
        count(*) as reading_count,
        count(*) filter (where qc_flag = 1) as pass_count,
        count(*) filter (where qc_flag = 2 or qc_flag is null) as not_evaluated_count,
        count(*) filter (where qc_flag = 3) as suspect_count,
        count(*) filter (where qc_flag = 4) as fail_count,
        count(*) filter (where qc_flag = 9) as missing_count,
        {{ found_by('gap') }} as gap_count,
        {{ found_by('gross_range') }} as gross_range_count,
        {{ found_by('climatology') }} as climatology_count,
        {{ found_by('spike') }} as spike_count,
        {{ found_by('rate_of_change') }} as rate_of_change_count,
        {{ found_by('flat_line') }} as flat_line_count,
        {{ found_by('attenuated_signal') }} as attenuated_signal_count,
        {{ common_origin('origin') }} as origin
    from readings
    group by
        dataset_id,
        entity_id,
        {{ local_date('observed_at') }}
),

neighbour_days as (
    select
        dataset_id,
        entity_id,
        local_date,
        count(*) filter (where qc_flag = 3) as neighbour_suspect_count
    from neighbour_checks
    group by
        dataset_id,
        entity_id,
        local_date
),

final as (
    select
        days.dataset_id,
        days.entity_id,
        days.local_date,
        days.reading_count,
        days.pass_count,
        days.not_evaluated_count,
        days.suspect_count,
        days.fail_count,
        days.missing_count,
        days.gap_count,
        days.gross_range_count,
        days.climatology_count,
        days.spike_count,
        days.rate_of_change_count,
        days.flat_line_count,
        days.attenuated_signal_count,
        coalesce(neighbour_days.neighbour_suspect_count, 0) as neighbour_suspect_count,
        days.origin
    from days
    left join neighbour_days
        on
            days.dataset_id = neighbour_days.dataset_id
            and days.entity_id = neighbour_days.entity_id
            and days.local_date = neighbour_days.local_date
)

select * from final
