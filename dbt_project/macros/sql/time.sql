{#- The calendar day in Huế of a UTC instant. The session's time zone is UTC. -#}
{%- macro local_date(instant) -%}
    to_date(from_utc_timestamp({{ instant }}, 'Asia/Ho_Chi_Minh'))
{%- endmacro -%}


{#- The hour of the day in Huế, 0 to 23. -#}
{%- macro local_hour(instant) -%}
    hour(from_utc_timestamp({{ instant }}, 'Asia/Ho_Chi_Minh'))
{%- endmacro -%}


{#- Hours between two instants, exact to the microsecond before the division. -#}
{%- macro hours_between(earlier, later) -%}
    (unix_micros({{ later }}) - unix_micros({{ earlier }})) / 3600000000.0D
{%- endmacro -%}


{#- An instant as the alarm job writes it: seconds, milliseconds only where there are some, Z. -#}
{%- macro iso_instant(instant) -%}
    concat(
        date_format({{ instant }}, "yyyy-MM-dd'T'HH:mm:ss"),
        if(unix_millis({{ instant }}) % 1000 = 0, '', date_format({{ instant }}, '.SSS')),
        'Z'
    )
{%- endmacro -%}


{#- Whether a row of a code list is in force on a local day; its end is exclusive and empty while there is none. -#}
{%- macro in_force(list, day) -%}
    ({{ list }}.valid_from <= {{ day }} and ({{ list }}.valid_to is null or {{ day }} < {{ list }}.valid_to))
{%- endmacro -%}
