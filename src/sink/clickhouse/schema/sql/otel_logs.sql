CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    EventName String CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.cluster.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.cluster.name'] CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.container.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.container.name'] CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.deployment.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.deployment.name'] CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.namespace.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.namespace.name'] CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.node.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.node.name'] CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.pod.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.name'] CODEC(ZSTD(1)),
    `__hdx_materialized_k8s.pod.uid` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.uid'] CODEC(ZSTD(1)),
    `__hdx_materialized_deployment.environment.name` LowCardinality(String) MATERIALIZED ResourceAttributes['deployment.environment.name'] CODEC(ZSTD(1)),
    ResourceAttributeItems Array(String) ALIAS arrayMap(arr -> concat(arr.1, '=', arr.2), CAST(ResourceAttributes AS Array(Tuple(String, String)))),
    ScopeAttributeItems Array(String) ALIAS arrayMap(arr -> concat(arr.1, '=', arr.2), CAST(ScopeAttributes AS Array(Tuple(String, String)))),
    LogAttributeItems Array(String) ALIAS arrayMap(arr -> concat(arr.1, '=', arr.2), CAST(LogAttributes AS Array(Tuple(String, String)))),
    INDEX idx_log_attr_items arrayMap(arr -> concat(arr.1, '=', arr.2), CAST(LogAttributes AS Array(Tuple(String, String)))) TYPE {text_items},
    INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE {text_items},
    INDEX idx_lower_body lower(Body) TYPE {text_words},
    INDEX idx_res_attr_items arrayMap(arr -> concat(arr.1, '=', arr.2), CAST(ResourceAttributes AS Array(Tuple(String, String)))) TYPE {text_items},
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE {text_items},
    INDEX idx_scope_attr_items arrayMap(arr -> concat(arr.1, '=', arr.2), CAST(ScopeAttributes AS Array(Tuple(String, String)))) TYPE {text_items},
    INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE {text_items},
    INDEX idx_trace_id TraceId TYPE {text_id}
)
ENGINE = {replicated}MergeTree{place}
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)
{ttl}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    {window}, fsync_after_insert = 1, fsync_part_directory = 1{level}
