-- touch
SELECT 1 AS c0
FROM "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"
WHERE 1 = 0

-- columns {'schema': 'a"b]c`d%e:f;--\'\\', 'table_name': 'a"b]c`d%e:f;--\'\\'}
select case when column_name = upper(column_name) then lower(column_name) else column_name end as name,
    lower(regexp_replace(data_type, '\(\d+\)', '')) as type, nullable, data_scale as scale
from all_tab_columns
where owner = coalesce(upper(:schema), sys_context('userenv', 'current_schema')) and table_name = upper(:table_name)
order by column_id

-- estimate {'schema': None, 'table_name': 'a"b]c`d%e:f;--\'\\'}
select num_rows as c0 from all_tables
where owner = coalesce(upper(:schema), sys_context('userenv', 'current_schema')) and table_name = upper(:table_name)

-- whole
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\0", 'TM9') AS c0, to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\1", 'TM9') AS c1, "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\2" AS c2, "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\3" AS c3, ltrim(CASE WHEN (trunc("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4") = "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4") THEN to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4", 'SYYYY-MM-DD') ELSE to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4", 'SYYYY-MM-DD HH24:MI:SS') END) AS c4, to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\5", 'TM9') AS c5, "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\6" AS c6, "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\7" AS c7, to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c8, "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\9" AS c9, ltrim(to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10", 'SYYYY-MM-DD HH24:MI:SS.FF6')) AS c10, ltrim(to_char(sys_extract_utc("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\11"), 'SYYYY-MM-DD HH24:MI:SS.FF6')) AS c11, ltrim(to_char(sys_extract_utc("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\12"), 'SYYYY-MM-DD HH24:MI:SS.FF6')) AS c12, "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\13" AS c13
FROM "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"

-- since an instant
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c0
FROM "A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\11" >= TIMESTAMP '2025-10-27 13:00:00.000005 +00:00' OR "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\11" IS NULL ORDER BY "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\11" ASC NULLS FIRST

-- since a time of a zone
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c0
FROM "A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" >= TIMESTAMP '2025-10-27 20:00:00.000005' OR "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" IS NULL ORDER BY "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" ASC NULLS FIRST

-- since a day
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c0
FROM "A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4" >= DATE '2025-10-27' OR "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4" IS NULL ORDER BY "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\4" ASC NULLS FIRST

-- since a number
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c0
FROM "A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8" >= -5 OR "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8" IS NULL ORDER BY "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8" ASC NULLS FIRST

-- piece
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c0
FROM "A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\0" >= 8 AND "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\0" < 16

-- last piece
SELECT to_char("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\8", 'TM9') AS c0
FROM "A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\0" >= 16

-- newest
SELECT ltrim(to_char(max("A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10"), 'SYYYY-MM-DD HH24:MI:SS.FF6')) AS c0
FROM "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" >= TIMESTAMP '1970-01-01 08:00:00.000000' AND "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" <= TIMESTAMP '2025-10-27 20:00:00.000005'

-- newer than now {'param_1': 1}
SELECT 1 AS c0
FROM "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" > TIMESTAMP '2025-10-27 20:00:00.000005'
 FETCH FIRST __[POSTCOMPILE_param_1] ROWS ONLY

-- older than 1970 {'param_1': 1}
SELECT 1 AS c0
FROM "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"
WHERE "A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\"."A""B]C`D%E:F;--'\10" < TIMESTAMP '1970-01-01 08:00:00.000000'
 FETCH FIRST __[POSTCOMPILE_param_1] ROWS ONLY
