with signal_event as (
    select
        junction_id,
        signal_event_type,
        origin,
        phase_no,
        interval_s,
        space_s,
        vehicle_count,
        red_occupancy_pct,
        qc_flag,
        observed_at
    from {{ source('silver', 'signal_event') }}
)

select * from signal_event
