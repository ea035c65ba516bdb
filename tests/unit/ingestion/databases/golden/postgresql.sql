-- touch
SELECT 1 AS c0
FROM "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"
WHERE 1 = 0

-- columns {'relation': '"a""b]c`d%e:f;--\'\\"."a""b]c`d%e:f;--\'\\"'}
select a.attname as name,
    case when b.typtype = 'e' then 'enum' else format_type(b.oid, null) end as type,
    not (a.attnotnull or t.typnotnull) as nullable,
    case when b.typname = 'numeric' and m.typmod <> -1 then (((m.typmod - 4) & 2047) # 1024) - 1024 end as scale
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
cross join lateral (select case when t.typtype = 'd' then t.typtypmod else a.atttypmod end as typmod) m
where a.attrelid = to_regclass(cast($1::VARCHAR as text)) and a.attnum > 0 and not a.attisdropped
order by a.attnum

-- estimate {'relation': '"a""b]c`d%e:f;--\'\\"'}
select cast(reltuples as bigint) as c0 from pg_class
where oid = to_regclass(cast($1::VARCHAR as text)) and reltuples >= 0

-- whole
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\1" AS c1, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\2" AS TEXT) AS c2, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\3" AS c3, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\4" AS TEXT) AS c4, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\5" AS c5, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\6" AS c6, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\7" AS TEXT) AS c7, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\8" AS c8, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\9" AS TEXT) AS c9, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\10" AS TEXT) AS c10, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\11" AS TEXT) AS c11, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\12" AS c12, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\13" AS c13, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\14" AS c14, "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" AS c15, CAST("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\16" AS TEXT) AS c16
FROM "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"

-- since an instant
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0
FROM "a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\14" >= TIMESTAMPTZ '2025-10-27 13:00:00.000005+00' OR "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\14" IS NULL ORDER BY "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\14" ASC NULLS FIRST

-- since a time of a zone
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0
FROM "a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" >= TIMESTAMP '2025-10-27 20:00:00.000005' OR "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" IS NULL ORDER BY "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" ASC NULLS FIRST

-- since a day
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0
FROM "a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\5" >= DATE '2025-10-27' OR "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\5" IS NULL ORDER BY "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\5" ASC NULLS FIRST

-- since a number
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0
FROM "a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" >= -5 OR "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" IS NULL ORDER BY "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" ASC NULLS FIRST

-- piece
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0
FROM "a""b]c`d%e:f;--'\"
WHERE ctid >= '(8,0)'::tid AND ctid < '(16,0)'::tid

-- last piece
SELECT "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\0" AS c0
FROM "a""b]c`d%e:f;--'\"
WHERE ctid >= '(16,0)'::tid

-- newest
SELECT max("a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15") AS c0
FROM "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" >= TIMESTAMP '1970-01-01 08:00:00.000000' AND "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" <= TIMESTAMP '2025-10-27 20:00:00.000005'

-- newer than now {'param_1': 1}
SELECT 1 AS c0
FROM "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" > TIMESTAMP '2025-10-27 20:00:00.000005'
 LIMIT $1::INTEGER

-- older than 1970 {'param_1': 1}
SELECT 1 AS c0
FROM "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"
WHERE "a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\"."a""b]c`d%e:f;--'\15" < TIMESTAMP '1970-01-01 08:00:00.000000'
 LIMIT $1::INTEGER
