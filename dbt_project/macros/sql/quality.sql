{#- How many rows have a result 3 or 4 of a quality test in any field: qc_detail reads `stage_m.spike=4;…`. -#}
{%- macro found_by(test) -%}
    count(*) filter (where qc_detail rlike '[.]{{ test }}=[34]')
{%- endmacro -%}


{#-
    What a neighbour test compares, one row per usable reading: the sum or the change of `field` over the test's window
    up to the reading, NULL where the window is not covered (fewer than 80 % of the readings due, or a hole of three
    periods at its beginning), and the period of the reading, by which stations are brought together.
-#}
{%- macro neighbour_windows(relation, dataset, entity, field) -%}
    {%- set cadence_s = qc_neighbour(dataset, field, 'cadence_s') | int -%}
    {%- set window_s = qc_neighbour(dataset, field, 'window_s') | int -%}
    {%- set is_sum = qc_neighbour(dataset, field, 'statistic') == 'sum' -%}
    {%- set over -%}
        over (
            partition by {{ entity }}
            order by unix_seconds(observed_at)
            range between {{ window_s - 1 if is_sum else window_s }} preceding and current row
        )
    {%- endset -%}
    select
        '{{ dataset }}' as dataset_id,
        {{ entity }} as entity_id,
        observed_at,
        '{{ field }}' as field_name,
        cast(floor(unix_seconds(observed_at) / {{ cadence_s }}) as bigint) as period,
        case
            when
                count(*) {{ over }} >= {{ 0.8 * window_s / cadence_s }}
                and unix_seconds(observed_at) - min(unix_seconds(observed_at)) {{ over }} >= {{ window_s - 3 * cadence_s }}
                then
                    {% if is_sum -%}
                    cast(sum({{ field }}) {{ over }} as double)
                    {%- else -%}
                    cast({{ field }} - first_value({{ field }}) {{ over }} as double)
                    {%- endif %}
        end as window_value,
        cast({{ qc_neighbour(dataset, field, 'low_factor') }} as double) as low_factor,
        cast({{ qc_neighbour(dataset, field, 'low_margin') }} as double) as low_margin,
        cast({{ qc_neighbour(dataset, field, 'high_factor') }} as double) as high_factor,
        cast({{ qc_neighbour(dataset, field, 'high_margin') }} as double) as high_margin,
        origin
    from {{ relation }}
    where {{ is_usable('qc_flag') }} and {{ field }} is not null
{%- endmacro -%}
