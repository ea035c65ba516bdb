{#-
    The rows that a unit test gives for an input. dbt asks the warehouse for their types, which has to hold the table
    already; ours come from the contracts, so unit tests need an empty Spark and nothing else.
-#}
{%- macro get_fixture_sql(rows, column_name_to_data_types) -%}
    {%- set types = contract_columns(model.name) -%}
    {%- if not types -%}
        {%- do exceptions.raise_compiler_error(
            'unit test input ' ~ model.name ~ ' is neither a mart, nor a silver table, nor a staging model of one'
        ) -%}
    {%- endif -%}
    {%- for row in rows or [{}] -%}
        {%- set given = format_row(row, types) -%}
        select
        {%- for name, type in types.items() %}
            {{ given.get(name, 'cast(null as ' ~ type ~ ')') }} as `{{ name }}`{{ ',' if not loop.last }}
        {%- endfor %}
        {%- if not rows %}
        limit 0
        {%- endif %}
        {{ 'union all' if not loop.last }}
    {% endfor -%}
{%- endmacro -%}
