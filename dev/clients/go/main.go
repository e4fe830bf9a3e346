// Sends numbered spans, log records and metrics with OpenTelemetry's Go SDK. The exporters take their settings from the OTEL_… variables; what is
// sent, and how fast, is said by MATRIX_… (see dev/clients/README.md).
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	spans, records, points, err := exporters(ctx)
	if err != nil {
		return err
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(records)))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(points)))
	if err := sendMetrics(ctx, meters.Meter("matrix", metric.WithInstrumentationVersion("1.2.3"))); err != nil {
		return err
	}
	sendRecords(ctx, tracers.Tracer("matrix", trace.WithInstrumentationVersion("1.2.3")),
		loggers.Logger("matrix", log.WithInstrumentationVersion("1.2.3")))
	for _, shutdown := range []func(context.Context) error{tracers.Shutdown, loggers.Shutdown, meters.Shutdown} {
		if err := shutdown(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return nil
}

func exporters(ctx context.Context) (spans sdktrace.SpanExporter, records sdklog.Exporter, points sdkmetric.Exporter, err error) {
	if os.Getenv("MATRIX_PINGS") != "" {
		return keptAlive(ctx)
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" {
		if spans, err = otlptracegrpc.New(ctx); err != nil {
			return
		}
		if records, err = otlploggrpc.New(ctx); err != nil {
			return
		}
		points, err = otlpmetricgrpc.New(ctx)
		return
	}
	if spans, err = otlptracehttp.New(ctx); err != nil {
		return
	}
	if records, err = otlploghttp.New(ctx); err != nil {
		return
	}
	points, err = otlpmetrichttp.New(ctx)
	return
}

func sendRecords(ctx context.Context, tracer trace.Tracer, logger log.Logger) {
	start := time.Unix(0, int64(number("MATRIX_START")))
	portion, pause := number("MATRIX_PORTION"), time.Duration(number("MATRIX_PAUSE"))*time.Millisecond
	within := ctx
	for n := range number("MATRIX_RECORDS") {
		if n > 0 && n%portion == 0 {
			time.Sleep(pause)
		}
		parent := ctx
		if n%2 == 1 {
			parent = within
		}
		at := start.Add(time.Duration(n) * time.Millisecond)
		within = sendSpan(parent, tracer, n, at)
		sendLog(within, logger, n, at)
	}
}

func attributes(n int) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int("number", n),
		attribute.Float64("share", float64(n)+0.5),
		attribute.Bool("even", n%2 == 0),
		attribute.String("text", fmt.Sprintf("Grüße %d", n)),
		attribute.StringSlice("list", []string{"a", strconv.Itoa(n)}),
	}
}

func sendSpan(ctx context.Context, tracer trace.Tracer, n int, at time.Time) context.Context {
	elsewhere := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    trace.TraceID{0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c},
		SpanID:     trace.SpanID{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31},
		TraceFlags: trace.FlagsSampled,
		Remote:     true,
	})
	ctx, span := tracer.Start(ctx, fmt.Sprintf("span %d", n),
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(at),
		trace.WithLinks(trace.Link{SpanContext: elsewhere, Attributes: []attribute.KeyValue{attribute.Int("number", n)}}),
		trace.WithAttributes(attributes(n)...))
	span.AddEvent("step", trace.WithTimestamp(at.Add(500*time.Microsecond)), trace.WithAttributes(attribute.Int("number", n)))
	switch n % 3 {
	case 1:
		span.SetStatus(codes.Ok, "")
	case 2:
		span.SetStatus(codes.Error, fmt.Sprintf("failed %d", n))
	}
	span.End(trace.WithTimestamp(at.Add(1500 * time.Microsecond)))
	fmt.Printf("span %d %s %s\n", n, span.SpanContext().TraceID(), span.SpanContext().SpanID())
	return ctx
}

func sendLog(ctx context.Context, logger log.Logger, n int, at time.Time) {
	var record log.Record
	severities := []log.Severity{log.SeverityInfo, log.SeverityWarn, log.SeverityError}
	record.SetTimestamp(at)
	record.SetSeverity(severities[n%3])
	record.SetSeverityText(severities[n%3].String())
	record.SetBody(attribute.StringValue(fmt.Sprintf("record %d", n)))
	record.AddAttributes(attributes(n)...)
	logger.Emit(ctx, record)
}

func sendMetrics(ctx context.Context, meter metric.Meter) error {
	sum, err := meter.Int64Counter("matrix.sum", metric.WithUnit("By"), metric.WithDescription("numbers, summed"))
	if err != nil {
		return err
	}
	gauge, err := meter.Float64Gauge("matrix.gauge", metric.WithUnit("Cel"))
	if err != nil {
		return err
	}
	histogram, err := meter.Float64Histogram("matrix.histogram", metric.WithUnit("s"))
	if err != nil {
		return err
	}
	for n := range 5 {
		attributes := metric.WithAttributes(attribute.Int("number", n))
		sum.Add(ctx, int64(n+1), attributes)
		gauge.Record(ctx, float64(n)+0.5, attributes)
		for _, value := range []float64{1, 7, 30} {
			histogram.Record(ctx, value, attributes)
		}
	}
	return nil
}

func number(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return value
}
