{#- No two rows share these columns. -#}
{% test unique_combination(model, columns) %}
    select
        {{ columns | join(', ') }},
        count(*) as row_count
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}


{#- Each of these columns has a value in every row: one pass, not one query for each column. -#}
{% test known(model, columns) %}
    select *
    from {{ model }}
    where
    {%- for column in columns %}
        {{ 'or ' if not loop.first }}`{{ column }}` is null
    {%- endfor %}
{% endtest %}


{#- Two columns stand in order wherever both are known. -#}
{% test ordered(model, left, operator, right) %}
    select *
    from {{ model }}
    where not (`{{ left }}` {{ operator }} `{{ right }}`)
{% endtest %}


{#- A column is known wherever another one has this value. -#}
{% test required_when(model, field, when, equals) %}
    select *
    from {{ model }}
    where `{{ when }}` = '{{ lake_escape(equals) }}' and `{{ field }}` is null
{% endtest %}


{#- At least this percentage of the rows has a value. -#}
{% test complete(model, field, minimum_pct) %}
    select 100.0 * count(`{{ field }}`) / count(*) as known_pct
    from {{ model }}
    having count(*) > 0 and 100.0 * count(`{{ field }}`) / count(*) < {{ minimum_pct }}
{% endtest %}
