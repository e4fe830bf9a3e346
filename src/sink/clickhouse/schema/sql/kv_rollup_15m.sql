CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    Timestamp DateTime,
    ColumnIdentifier LowCardinality(String),
    Key LowCardinality(String),
    Value String,
    count UInt64,
    INDEX idx_count_minmax count TYPE minmax GRANULARITY 1,
    INDEX idx_timestamp_minmax Timestamp TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}SummingMergeTree{place}
PARTITION BY toDate(Timestamp)
ORDER BY (ColumnIdentifier, Key, Timestamp, Value)
{ttl}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1,
    {window}, fsync_after_insert = 1, fsync_part_directory = 1
