"""Sends numbered spans, log records and metrics with OpenTelemetry's Python SDK, or with HyperDX's on top of it (MATRIX_SDK=hyperdx). The exporters take
their settings from the OTEL_… and HYPERDX_… variables; what is sent, and how fast, is said by MATRIX_… (see dev/clients/README.md)."""

import logging
import os
import time

from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

MILLISECOND = 1_000_000
SEVERITIES = [
    (SeverityNumber.INFO, "INFO"),
    (SeverityNumber.WARN, "WARN"),
    (SeverityNumber.ERROR, "ERROR"),
]


def attributes(number):
    return {
        "number": number,
        "share": number + 0.5,
        "even": number % 2 == 0,
        "text": f"Grüße {number}",
        "list": ["a", str(number)],
    }


def send_span(tracer, number, start, parent):
    began = start + number * MILLISECOND
    elsewhere = SpanContext(
        0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1)
    )
    span = tracer.start_span(
        f"span {number}",
        context=trace.set_span_in_context(parent) if number % 2 else None,
        kind=SpanKind.SERVER,
        attributes=attributes(number),
        links=[Link(elsewhere, {"number": number})],
        start_time=began,
    )
    span.add_event("step", {"number": number}, began + MILLISECOND // 2)
    if number % 3 == 1:
        span.set_status(Status(StatusCode.OK))
    elif number % 3 == 2:
        span.set_status(Status(StatusCode.ERROR, f"failed {number}"))
    span.end(began + 3 * MILLISECOND // 2)
    context = span.get_span_context()
    print(f"span {number} {context.trace_id:032x} {context.span_id:016x}", flush=True)
    return span


def send_log(logger, number, start, span):
    severity, text = SEVERITIES[number % 3]
    logger.emit(
        LogRecord(
            timestamp=start + number * MILLISECOND,
            context=trace.set_span_in_context(span),
            severity_number=severity,
            severity_text=text,
            body=f"record {number}",
            attributes=attributes(number),
        )
    )


def send_metrics(meter):
    total = meter.create_counter("matrix.sum", unit="By", description="numbers, summed")
    gauge = meter.create_gauge("matrix.gauge", unit="Cel")
    histogram = meter.create_histogram("matrix.histogram", unit="s")
    for number in range(5):
        total.add(number + 1, {"number": number})
        gauge.set(number + 0.5, {"number": number})
        for value in (1, 7, 30):
            histogram.record(value, {"number": number})


def providers():
    if os.environ["MATRIX_SDK"] == "hyperdx":
        from hyperdx.opentelemetry import configure_opentelemetry

        configure_opentelemetry()
        return trace.get_tracer_provider(), get_logger_provider(), metrics.get_meter_provider()
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    loggers = LoggerProvider()
    loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    meters = MeterProvider(metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])
    return tracers, loggers, meters


def main():
    logging.basicConfig(level=logging.INFO)
    tracers, loggers, meters = providers()
    tracer = tracers.get_tracer("matrix", "1.2.3")
    logger = loggers.get_logger("matrix", "1.2.3")
    send_metrics(meters.get_meter("matrix", "1.2.3"))

    start = int(os.environ["MATRIX_START"])
    portion = int(os.environ["MATRIX_PORTION"])
    span = None
    for number in range(int(os.environ["MATRIX_RECORDS"])):
        if number and number % portion == 0:
            time.sleep(int(os.environ["MATRIX_PAUSE"]) / 1000)
        span = send_span(tracer, number, start, span)
        send_log(logger, number, start, span)
    for provider in (tracers, loggers, meters):
        provider.shutdown()


main()
