{#- How many rows have a result 3 or 4 of a quality test in any field: qc_detail reads `stage_m.spike=4;…`. -#}
{%- macro found_by(test) -%}
    count(*) filter (where qc_detail rlike '[.]{{ test }}=[34]')
{%- endmacro -%}


{#-
    Every reading of every stream of which the contract declares quality tests, with the thing that is at fault when it is
    flagged: the device where there is one, else what sends or measures. An event is no thing, its id is never one. Meters
    are counted together, since each of them is a household.
-#}
{%- macro flagged_readings() -%}
    {%- set entities = {
        'ai_event': ['camera_id'],
        'asset_sensor': ['sensor_id'],
        'camera_health': ['camera_id'],
        'camera_share_log': ['share_system'],
        'device_heartbeat': ['device_id'],
        'env_monitoring': ['env_station_id'],
        'etc_txn': ['bus_station_id', 'lane_no'],
        'exchange_log': ['exchange_service'],
        'fire_event': ['detection_source'],
        'flood_forecast': ['station_id', 'forecast_issuer'],
        'flood_forecast_model': ['station_id', 'forecast_method'],
        'lane_minute': ['detector_id', 'lane_no'],
        'lighting_cabinet': ['cabinet_id'],
        'link_qos': ['link_id'],
        'meter_read': [],
        'platform_slo': ['platform_service'],
        'rain_gauge': ['station_id'],
        'reservoir_op': ['reservoir_id'],
        'river_stage': ['station_id'],
        'scenario_run': ['scenario_id'],
        'school_safety_event': ['school_id'],
        'siem_event': ['system_id'],
        'signal_event': ['junction_id'],
        'tide': ['tide_station_id'],
        'urban_flood_depth': ['site_id'],
        'vehicle_position': ['vehicle_id'],
    } -%}
    {%- for dataset, entity in entities.items() if lake_has('silver', dataset) %}
    select
        '{{ dataset }}' as dataset_id,
        {% if entity %}concat_ws('|', {{ entity | join(', ') }}){% else %}'all'{% endif %} as entity_id,
        {{ stream_setting(dataset, 'event_time') }} as observed_at,
        qc_flag,
        qc_detail,
        origin
    from {{ source('silver', dataset) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
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
