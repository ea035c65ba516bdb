{#- Whether a reading may be evaluated: QARTOD flags 4 (fail) and 9 (missing) may not. -#}
{%- macro is_usable(flag) -%}
    ({{ flag }} is null or {{ flag }} not in (4, 9))
{%- endmacro -%}


{#- The origin of a group of rows: the one that they share, or `mixed`. -#}
{%- macro common_origin(origin) -%}
    if(min({{ origin }}) = max({{ origin }}), min({{ origin }}), 'mixed')
{%- endmacro -%}


{#- A share in percent; null where there is nothing to divide by. -#}
{%- macro share_pct(part, whole) -%}
    if({{ whole }} = 0, null, 100.0D * {{ part }} / {{ whole }})
{%- endmacro -%}


{#- A ratio of counts at an alarm level; null at level 0, which is no event, and where there is nothing to divide by. -#}
{%- macro level_share(part, whole) -%}
    if(alarm_level = 0 or {{ whole }} = 0, null, ({{ part }}) / cast({{ whole }} as double))
{%- endmacro -%}


{#- The mean of a group, each value weighted by its count where counts stand beside values, else the plain mean. -#}
{%- macro counted_mean(value, count) -%}
    cast(
        coalesce(
            sum({{ value }} * {{ count }}) filter (where {{ value }} is not null)
            / nullif(sum({{ count }}) filter (where {{ value }} is not null), 0),
            avg({{ value }})
        ) as decimal(9, 3)
    )
{%- endmacro -%}
