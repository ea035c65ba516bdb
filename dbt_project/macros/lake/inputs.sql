{#-
    What one run reads and where it writes, from the environment variable LAKE_DBT_INPUTS (JSON; set by `lake run dbt`):
    run_id, silver_root, gold_root (folders), versions (table -> Delta version), at_rest (gold tables that have a Delta
    log), keep (those whose declaration already equals the contract), as_of_date. An environment variable and not --vars, because other vars make dbt
    parse the whole project again. Read at execution only: parsing needs none of it.
-#}
{%- macro lake_inputs() -%}
    {%- set text = env_var('LAKE_DBT_INPUTS', '') -%}
    {%- if not text -%}
        {%- do exceptions.raise_compiler_error(
            'LAKE_DBT_INPUTS is not set, so it is unknown which versions to read. Run `lake run dbt --run-id <run>`.'
        ) -%}
    {%- endif -%}
    {%- do return(fromjson(text)) -%}
{%- endmacro -%}


{#- The day at which dimensions hold what is in force: the local day of the run, not of the clock. -#}
{%- macro as_of_date() -%}
    {%- if execute -%}
        date '{{ lake_inputs()['as_of_date'] }}'
    {%- else -%}
        current_date()
    {%- endif -%}
{%- endmacro -%}
