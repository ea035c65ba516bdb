-- A suspicion counts in the local month in which it was reported; only a confirmed one is a fire. The published
-- baselines stand beside the figures, they are never part of them.
with suspicions as (
    select
        fire_kind,
        ward_code,
        review_status,
        burnt_ha,
        cast(trunc({{ local_date('observed_at') }}, 'MM') as date) as month_start_date,
        origin
    from {{ ref('stg_fire_event') }}
    where {{ is_usable('qc_flag') }}
),

baselines as (
    select
        fire_kind,
        baseline_suspected_count,
        baseline_verified_count
    from {{ ref('stg_code_fire_baselines') }}
),

months as (
    select
        fire_kind,
        month_start_date,
        count(*) as suspected_count,
        count_if(review_status = 'confirmed') as verified_count,
        count_if(review_status = 'rejected') as rejected_count,
        count(distinct ward_code) as ward_count,
        sum(burnt_ha) filter (where review_status = 'confirmed') as burnt_ha,
        {{ common_origin('origin') }} as origin
    from suspicions
    group by
        fire_kind,
        month_start_date
),

final as (
    select
        months.fire_kind,
        months.month_start_date,
        months.suspected_count,
        months.verified_count,
        months.rejected_count,
        months.suspected_count - months.verified_count - months.rejected_count as pending_count,
        {{ share_pct('months.verified_count', '(months.verified_count + months.rejected_count)') }} as verified_pct,
        months.ward_count,
        cast(months.burnt_ha as decimal(10, 3)) as burnt_ha,
        baselines.baseline_suspected_count,
        baselines.baseline_verified_count,
        months.origin
    from months
    left join baselines
        on months.fire_kind = baselines.fire_kind
)

select * from final
