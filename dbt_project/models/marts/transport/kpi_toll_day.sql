-- A passage counts on the local day on which it happened, whenever its fee is settled.
with passages as (
    select
        bus_station_id,
        {{ local_date('passed_at') }} as local_date,
        gate_direction,
        is_read_ok,
        settlement_status,
        amount_vnd,
        origin
    from {{ ref('stg_etc_txn') }}
    where {{ is_usable('qc_flag') }}
),

days as (
    select
        bus_station_id,
        local_date,
        count(*) as passage_count,
        count_if(gate_direction = 'in') as in_count,
        count_if(gate_direction = 'out') as out_count,
        count_if(is_read_ok) as tag_read_count,
        count_if(settlement_status <> 'waived') as payable_count,
        count_if(settlement_status = 'settled') as settled_count,
        coalesce(sum(amount_vnd) filter (where settlement_status = 'settled'), 0) as settled_vnd,
        {{ common_origin('origin') }} as origin
    from passages
    group by
        bus_station_id,
        local_date
),

final as (
    select
        bus_station_id,
        local_date,
        passage_count,
        in_count,
        out_count,
        tag_read_count,
        {{ share_pct('tag_read_count', 'passage_count') }} as tag_read_pct,
        payable_count,
        settled_count,
        {{ share_pct('settled_count', 'payable_count') }} as settled_pct,
        cast(settled_vnd as decimal(18, 0)) as settled_vnd,
        origin
    from days
)

select * from final
