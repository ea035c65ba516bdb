-- touch
SELECT 1 AS c0
FROM [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\]
WHERE 1 = 0

-- columns {'schema': 'a"b]c`d%e:f;--\'\\', 'table_name': 'a"b]c`d%e:f;--\'\\'}
select column_name as name, data_type as type, is_nullable as nullable, numeric_scale as scale
from information_schema.columns
where table_schema = coalesce(:schema, schema_name()) and table_name = :table_name
order by ordinal_position

-- estimate {'table_name': 'a"b]c`d%e:f;--\'\\', 'schema': None}
select sum(p.rows) as c0 from sys.partitions p join sys.objects o on o.object_id = p.object_id
where p.index_id in (0, 1) and o.name = :table_name and schema_name(o.schema_id) = coalesce(:schema, schema_name())

-- whole
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\1]) AS c1, [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\2] AS c2, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\3], 23) AS c3, convert(nvarchar(max), CAST([a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] AS DATETIME2(6)), 121) AS c4, convert(nvarchar(max), CAST([a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\5] AS DATETIME2(6)), 121) AS c5, convert(nvarchar(max), CAST(switchoffset([a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\6], '+00:00') AS DATETIME2(6)), 121) AS c6, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\7]) AS c7, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\8], 3) AS c8, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\9]) AS c9, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\10], 2) AS c10, [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\11] AS c11, [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\12] AS c12, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\13]) AS c13, [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\14] AS c14, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\15], 3) AS c15, convert(nvarchar(max), CAST([a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\16] AS DATETIME2(6)), 121) AS c16, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\17]) AS c17, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\18], 2) AS c18, [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\19] AS c19, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\20]) AS c20, convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\21]) AS c21, [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\22] AS c22
FROM [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\]

-- since an instant
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0
FROM [a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\6] >= cast('2025-10-27 13:00:00.000005+00:00' as datetimeoffset(6)) OR [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\6] IS NULL ORDER BY [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\6] ASC

-- since a time of a zone
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0
FROM [a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] >= cast('2025-10-27 20:00:00.000005' as datetime2(6)) OR [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] IS NULL ORDER BY [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] ASC

-- since a day
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0
FROM [a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\3] >= cast('2025-10-27' as date) OR [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\3] IS NULL ORDER BY [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\3] ASC

-- since a number
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0
FROM [a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0] >= -5 OR [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0] IS NULL ORDER BY [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0] ASC

-- piece
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0
FROM [a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0] >= 8 AND [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0] < 16

-- last piece
SELECT convert(nvarchar(max), [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0]) AS c0
FROM [a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\0] >= 16

-- newest
SELECT convert(nvarchar(max), CAST(max([a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4]) AS DATETIME2(6)), 121) AS c0
FROM [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] >= cast('1970-01-01 08:00:00.000000' as datetime2(6)) AND [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] <= cast('2025-10-27 20:00:00.000005' as datetime2(6))

-- newer than now {'param_1': 1}
SELECT TOP __[POSTCOMPILE_param_1] 1 AS c0
FROM [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] > cast('2025-10-27 20:00:00.000005' as datetime2(6))

-- older than 1970 {'param_1': 1}
SELECT TOP __[POSTCOMPILE_param_1] 1 AS c0
FROM [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\]
WHERE [a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\].[a"b]]c`d%e:f;--'\4] < cast('1970-01-01 08:00:00.000000' as datetime2(6))
