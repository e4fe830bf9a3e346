CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{view} TO {database}.{table}
(
    Timestamp DateTime,
    ColumnIdentifier String,
    Key String,
    Value String,
    count UInt64
)
AS SELECT
    toStartOfFifteenMinutes(source.Timestamp) AS Timestamp,
    'NativeColumn' AS ColumnIdentifier,
    pair.1 AS Key,
    pair.2 AS Value,
    count() AS count
FROM {database}.{source} AS source
ARRAY JOIN
[
{pairs}
] AS pair
GROUP BY toStartOfFifteenMinutes(source.Timestamp), pair.1, pair.2
