{#-
    source() reads a silver table by its path at the version of the run manifest: nothing is registered, and everything
    in one run sees one version. Lineage stays, because the built-in is called first; in a unit test the built-in
    returns the fixture, which is kept.
-#}
{%- macro source(source_name, table_name) -%}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- if not execute or relation.is_cte -%}
        {%- do return(relation) -%}
    {%- endif -%}
    {%- do return(lake_table(source_name, table_name)) -%}
{%- endmacro -%}


{#-
    Says yes where a table is read: the run has a version of it. A namespace may hold fewer datasets than the catalogue; a
    mart leaves out those of its optional inputs that it has not. Yes as well while dbt parses, because what a model may
    read is said there, and in a unit test, which gives the rows.
-#}
{%- macro lake_has(source_name, table_name) -%}
    {%- if not execute or builtins.source(source_name, table_name).is_cte -%}
        yes
    {%- elif source_name ~ '.' ~ table_name in lake_inputs()['versions'] -%}
        yes
    {%- endif -%}
{%- endmacro -%}


{%- macro lake_table(layer, table_name) -%}
    {%- set inputs = lake_inputs() -%}
    {%- set version = inputs['versions'].get(layer ~ '.' ~ table_name) -%}
    {%- if version is none -%}
        {%- do exceptions.raise_compiler_error(
            layer ~ '.' ~ table_name ~ ' has no version in the manifest of run ' ~ inputs['run_id']
            ~ ': it was never written, or no version of it passed. Land or ingest it and begin a new run, or leave out'
            ~ ' what rests on it: --exclude source:' ~ layer ~ '.' ~ table_name ~ '+'
        ) -%}
    {%- endif -%}
    {%- do return('delta.`' ~ inputs['silver_root'] ~ '/' ~ table_name ~ '` version as of ' ~ version) -%}
{%- endmacro -%}
