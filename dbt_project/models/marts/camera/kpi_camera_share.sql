-- A query counts in the local month in which it was made. A system counts as connected from the month on in which it
-- was first queried without an error.
with queries as (
    select
        agency_id,
        share_purpose,
        query_basis_code,
        document_no,
        share_system,
        share_result,
        cast(trunc({{ local_date('queried_at') }}, 'MM') as date) as month_start_date,
        origin
    from {{ ref('stg_camera_share_log') }}
    where {{ is_usable('qc_flag') }}
),

systems as (
    select code as share_system
    from {{ ref('stg_code_share_systems') }}
),

first_answers as (
    select
        systems.share_system,
        min(queries.month_start_date) as month_start_date
    from systems
    left join queries
        on
            systems.share_system = queries.share_system
            and queries.share_result <> 'error'
    group by systems.share_system
),

months as (
    select distinct month_start_date
    from queries
),

connected as (
    select
        months.month_start_date,
        count_if(first_answers.month_start_date <= months.month_start_date) as connected_system_count,
        count(*) as system_count
    from months
    cross join first_answers
    group by months.month_start_date
),

counted as (
    select
        agency_id,
        share_purpose,
        query_basis_code,
        month_start_date,
        count(*) as query_count,
        count(document_no) as documented_count,
        count_if(share_result = 'matched') as matched_count,
        count_if(share_result = 'refused') as refused_count,
        {{ common_origin('origin') }} as origin
    from queries
    group by
        agency_id,
        share_purpose,
        query_basis_code,
        month_start_date
),

final as (
    select
        counted.agency_id,
        counted.share_purpose,
        counted.query_basis_code,
        counted.month_start_date,
        counted.query_count,
        counted.documented_count,
        {{ share_pct('counted.documented_count', 'counted.query_count') }} as documented_pct,
        counted.matched_count,
        counted.refused_count,
        {{ share_pct('counted.refused_count', 'counted.query_count') }} as refused_pct,
        connected.connected_system_count,
        connected.system_count,
        {{ share_pct('connected.connected_system_count', 'connected.system_count') }} as connected_pct,
        counted.origin
    from counted
    inner join connected
        on counted.month_start_date = connected.month_start_date
)

select * from final
