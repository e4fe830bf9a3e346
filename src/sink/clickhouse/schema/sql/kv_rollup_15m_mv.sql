CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{view}{on_cluster} TO {database}.{table}
(
    Timestamp DateTime,
    ColumnIdentifier String,
    Key String,
    Value String,
    count UInt64
)
AS SELECT
    Quarter AS Timestamp,
    'NativeColumn' AS ColumnIdentifier,
    pair.1 AS Key,
    pair.2 AS Value,
    sum(alike) AS count
FROM
(
    SELECT
        toStartOfFifteenMinutes(Timestamp) AS Quarter,
{columns},
        count() AS alike
    FROM {database}.{source}
    GROUP BY
        Quarter,
{columns}
) AS source
ARRAY JOIN
[
{pairs}
] AS pair
GROUP BY Quarter, pair.1, pair.2
