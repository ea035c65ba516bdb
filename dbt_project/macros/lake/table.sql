{#-
    Gold tables are declared from the contract and then overwritten in place, one Delta commit per build, at
    <gold_root>/<model>. They are never dropped and never created a second time at their path, so that a published,
    older version stays readable. dbt-spark's own way (replace the table, then one commit for each column comment) makes
    as many versions as there are columns.
    A table whose declaration differs from the contract (or which is new) is replaced first: still the same Delta log.
-#}
{%- materialization table, adapter='spark', supported_languages=['sql'] -%}
    {%- set target_relation = api.Relation.create(
        identifier=model['alias'], schema=schema, database=database, type='table'
    ) -%}
    {%- set old_relation = adapter.get_relation(database=database, schema=schema, identifier=model['alias']) -%}
    {%- set inputs = lake_inputs() -%}
    {%- set location = inputs['gold_root'] ~ '/' ~ model['alias'] -%}

    {%- if not config.get('contract').enforced -%}
        {%- do exceptions.raise_compiler_error(
            model['name'] ~ ' has no enforced contract: add schemas/datasets/<domain>/' ~ model['name']
            ~ '.yaml with a `mart` and run `lake contracts build`'
        ) -%}
    {%- endif -%}
    {{ run_hooks(pre_hooks) }}

    {#- The contract's own check: raises with both lists of columns. -#}
    {%- do get_assert_columns_equivalent(compiled_code) -%}

    {%- if old_relation is not none and (model['alias'] not in inputs['at_rest'] or not lake_is_at(old_relation, location)) -%}
        {#- Registered for files that are gone (a forgotten namespace) or for another lake root. Only the entry of the
            catalogue goes: an external table keeps its files. -#}
        {%- do adapter.drop_relation(old_relation) -%}
    {%- endif -%}

    {%- call statement('declare') -%}
        {{ lake_declare_table(target_relation, location, keep=model['alias'] in inputs['keep']) }}
    {%- endcall -%}
    {%- call statement('main') -%}
        insert overwrite table {{ target_relation }}
        select
        {%- for name in model['columns'] %}
            `{{ name }}`{{ ',' if not loop.last }}
        {%- endfor %}
        from (
            {{ compiled_code }}
        ) as built
    {%- endcall -%}

    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization -%}


{%- macro lake_is_at(relation, location) -%}
    {%- set told = (relation.information or '').replace('Location: file://', 'Location: ').replace('Location: file:', 'Location: ') -%}
    {%- do return(('Location: ' ~ location ~ '\n') in (told ~ '\n')) -%}
{%- endmacro -%}


{%- macro lake_declare_table(relation, location, keep) -%}
    {%- if keep -%}
        create table if not exists {{ relation }} using delta location '{{ lake_escape(location) }}'
    {%- else -%}
        create or replace table {{ relation }} (
        {%- for name, column in model['columns'].items() %}
            `{{ name }}` {{ column['data_type'] }} comment '{{ lake_escape(column['description']) }}'{{ ',' if not loop.last }}
        {%- endfor %}
        )
        using delta
        tblproperties (
        {%- for name, value in lake_table_properties().items() %}
            '{{ name }}' = '{{ value }}'{{ ',' if not loop.last }}
        {%- endfor %}
        )
        location '{{ lake_escape(location) }}'
        comment '{{ lake_escape(model['description']) }}'
    {%- endif -%}
{%- endmacro -%}


{%- macro lake_escape(text) -%}
    {%- do return(text.replace('\\', '\\\\').replace("'", "\\'")) -%}
{%- endmacro -%}
