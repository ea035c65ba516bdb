-- touch
SELECT 1 AS c0
FROM `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`
WHERE 1 = 0

-- columns {'schema': 'a"b]c`d%e:f;--\'\\', 'table_name': 'a"b]c`d%e:f;--\'\\'}
select column_name as name,
    case when column_type like 'tinyint(1)%%' then 'tinyint(1)' when column_type = 'bit(1)' then 'bit(1)'
        when column_type like '%%unsigned%%' and data_type like '%%int' then concat(data_type, ' unsigned')
        else data_type end as type,
    is_nullable as nullable, numeric_scale as scale
from information_schema.columns
where table_schema = coalesce(%s, database()) and table_name = %s
order by ordinal_position

-- estimate {'schema': None, 'table_name': 'a"b]c`d%e:f;--\'\\'}
select table_rows as c0 from information_schema.tables
where table_schema = coalesce(%s, database()) and table_name = %s

-- whole
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\1` AS c1, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\2` + 0 AS c2, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\3` AS c3, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\4` AS c4, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` AS c5, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\6` AS c6, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\7` AS c7, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\8` AS c8, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\9` + 0e0 AS c9, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\10` AS c10, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\11` AS c11, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\12` AS c12, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\13` AS c13, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\14` AS c14, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\15` AS c15, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\16` AS c16, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\17` AS c17, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\18` AS c18, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\19` AS c19, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\20` AS c20, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\21` AS c21, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\22` AS c22, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\23` AS c23, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\24` AS c24, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\25` AS c25, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\26` AS c26, `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\27` AS c27
FROM `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`

-- since an instant
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0
FROM `a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\20` >= TIMESTAMP '2025-10-27 13:00:00.000005' OR `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\20` IS NULL ORDER BY `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\20` ASC

-- since a time of a zone
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0
FROM `a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` >= TIMESTAMP '2025-10-27 20:00:00.000005' OR `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` IS NULL ORDER BY `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` ASC

-- since a day
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0
FROM `a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\4` >= DATE '2025-10-27' OR `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\4` IS NULL ORDER BY `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\4` ASC

-- since a number
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0
FROM `a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` >= -5 OR `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` IS NULL ORDER BY `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` ASC

-- piece
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0
FROM `a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` >= 8 AND `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` < 16

-- last piece
SELECT `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` AS c0
FROM `a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\0` >= 16

-- newest
SELECT max(`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5`) AS c0
FROM `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` >= TIMESTAMP '1970-01-01 08:00:00.000000' AND `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` <= TIMESTAMP '2025-10-27 20:00:00.000005'

-- newer than now {'param_1': 1}
SELECT 1 AS c0
FROM `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` > TIMESTAMP '2025-10-27 20:00:00.000005'
 LIMIT %s

-- older than 1970 {'param_1': 1}
SELECT 1 AS c0
FROM `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`
WHERE `a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\`.`a"b]c``d%%e:f;--'\5` < TIMESTAMP '1970-01-01 08:00:00.000000'
 LIMIT %s
