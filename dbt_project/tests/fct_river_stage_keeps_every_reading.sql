-- Flag, never delete: as many readings as silver has.
with silver as (
    select count(*) as reading_count
    from {{ ref('stg_river_stage') }}
),

gold as (
    select count(*) as reading_count
    from {{ ref('fct_river_stage') }}
)

select
    silver.reading_count as in_silver,
    gold.reading_count as in_gold
from silver
cross join gold
where silver.reading_count <> gold.reading_count
