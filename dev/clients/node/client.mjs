// Sends numbered spans, log records and metrics with OpenTelemetry's Node SDK. The exporters take their settings from the OTEL_… variables; what is
// sent, and how fast, is said by MATRIX_… (see dev/clients/README.md).

import { diag, DiagConsoleLogger, DiagLogLevel } from '@opentelemetry/api';
import { detectResources, envDetector, defaultResource } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { sendAll } from './matrix.mjs';

diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);

const flavour = { grpc: 'grpc', 'http/protobuf': 'proto', 'http/json': 'http' }[process.env.OTEL_EXPORTER_OTLP_PROTOCOL];
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${flavour}`);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${flavour}`);
const { OTLPMetricExporter } = await import(`@opentelemetry/exporter-metrics-otlp-${flavour}`);

const resource = defaultResource().merge(detectResources({ detectors: [envDetector] }));
const interval = Number(process.env.OTEL_METRIC_EXPORT_INTERVAL);
const tracers = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
const logs = new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() });
const loggers = new LoggerProvider({ resource, processors: [logs] });
const reader = new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter(), exportIntervalMillis: interval });
const meters = new MeterProvider({ resource, readers: [reader] });

await sendAll(tracers, loggers, meters);
for (const provider of [tracers, loggers, meters]) await provider.shutdown().catch((error) => console.error(error));
