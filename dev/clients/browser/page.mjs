// Sends numbered spans, log records and metrics from a page, with OpenTelemetry's SDK for browsers or with HyperDX's (MATRIX_SDK=hyperdx), which numbers
// its spans only and records the session beside them. A page has no environment: client.mjs hands the variables over as `settings`.

import { diag, DiagConsoleLogger, DiagLogLevel, trace } from '@opentelemetry/api';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtobufLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as JsonMetrics } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtobufMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonTraces } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import HyperDX from '@hyperdx/browser';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, WebTracerProvider } from '@opentelemetry/sdk-trace-web';
import { sendAll } from './matrix.mjs';

const { OTEL_EXPORTER_OTLP_ENDPOINT: url, MATRIX_KEY: key, OTEL_SERVICE_NAME: service } = settings;
const nothing = new Proxy({}, { get: () => () => nothing });

async function opentelemetry() {
  diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);
  const exporter = (path) => ({ url: `${url}/v1/${path}`, headers: { authorization: key } });
  const resource = resourceFromAttributes({ 'service.name': service, 'deployment.environment.name': 'matrix' });
  const json = settings.OTEL_EXPORTER_OTLP_PROTOCOL === 'http/json';
  const spans = new (json ? JsonTraces : ProtobufTraces)(exporter('traces'));
  const records = new (json ? JsonLogs : ProtobufLogs)(exporter('logs'));
  const points = new (json ? JsonMetrics : ProtobufMetrics)(exporter('metrics'));
  const batches = { scheduledDelayMillis: 200 };
  const tracers = new WebTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(spans, batches)] });
  const loggers = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: records, ...batches })] });
  const reader = new PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 3600000 });
  const meters = new MeterProvider({ resource, readers: [reader] });
  await sendAll(tracers, loggers, meters);
  for (const provider of [tracers, loggers, meters]) await provider.shutdown().catch((error) => console.error(String(error)));
}

async function hyperdx() {
  HyperDX.init({ apiKey: key, service, url, otelResourceAttributes: { 'deployment.environment.name': 'matrix' } });
  await sendAll(trace, nothing, nothing);
  await trace.getTracerProvider().getDelegate().forceFlush().catch((error) => console.error(String(error)));
  // There is no end to wait for: the recording leaves when a second or so has passed.
  await new Promise((resolve) => setTimeout(resolve, 8000));
}

(settings.MATRIX_SDK === 'hyperdx' ? hyperdx() : opentelemetry()).finally(() => console.log('done'));

