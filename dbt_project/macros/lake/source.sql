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
