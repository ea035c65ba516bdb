-- A stage above the record is above BĐ3, BĐ2 and BĐ1, and no day is longer than 24 h and the hold of its last reading.
select
    station_id,
    local_date,
    above_bd1_h,
    above_bd2_h,
    above_bd3_h,
    above_record_h
from {{ ref('kpi_flood_alarm') }}
where
    above_record_h > above_bd3_h
    or above_bd3_h > above_bd2_h
    or above_bd2_h > above_bd1_h
    or above_bd1_h > 24 + {{ var('flood_reading_hold_minutes') }} / 60.0 + 1e-9
