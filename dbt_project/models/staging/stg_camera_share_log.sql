-- The token of the officer stays in silver: no figure needs it.
with camera_share_log as (
    select
        agency_id,
        share_purpose,
        query_basis_code,
        document_no,
        share_system,
        share_result,
        origin,
        qc_flag,
        queried_at
    from {{ source('silver', 'camera_share_log') }}
)

select * from camera_share_log
