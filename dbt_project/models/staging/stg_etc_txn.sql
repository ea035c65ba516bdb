-- The plate token stays in silver: no figure needs it.
with etc_txn as (
    select
        bus_station_id,
        gate_direction,
        settlement_status,
        origin,
        amount_vnd,
        qc_flag,
        is_read_ok,
        passed_at
    from {{ source('silver', 'etc_txn') }}
)

select * from etc_txn
