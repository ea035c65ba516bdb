{#-
    What the contract says of single rows and of the key, in one pass: no two rows share the key, the columns of `known`
    have a value, and no row meets a condition of `never` (what it is called -> SQL). One result row per broken rule.
-#}
{% test keeps_contract(model, key, known, never) %}
    with judged as (
        select
            array_compact(array(
                if(count(*) over (partition by {{ key | join(', ') }}) > 1, 'the key is not unique', null)
                {%- for column in known %},
                if(`{{ column }}` is null, '{{ column }} is unknown', null)
                {%- endfor %}
                {%- for said, condition in never.items() %},
                if({{ condition }}, '{{ lake_escape(said) }}', null)
                {%- endfor %}
            )) as findings
        from {{ model }}
    )

    select
        finding,
        count(*) as row_count
    from judged
    lateral view explode(findings) exploded as finding
    group by finding
{% endtest %}


{#- At least this percentage of the rows has a value. -#}
{% test complete(model, field, minimum_pct) %}
    select 100.0 * count(`{{ field }}`) / count(*) as known_pct
    from {{ model }}
    having count(*) > 0 and 100.0 * count(`{{ field }}`) / count(*) < {{ minimum_pct }}
{% endtest %}
