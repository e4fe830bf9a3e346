import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.logs.Logger;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Sends numbered spans, log records and metrics through OpenTelemetry's Java agent, which takes its settings from the OTEL_… variables and exports what
 * is left when the program ends. What is sent, and how fast, is said by MATRIX_… (see dev/clients/README.md).
 */
public final class Client {
  private static final long MILLISECOND = 1_000_000;
  private static final Severity[] SEVERITIES = {Severity.INFO, Severity.WARN, Severity.ERROR};

  public static void main(String[] arguments) throws InterruptedException {
    long start = number("MATRIX_START");
    long portion = number("MATRIX_PORTION");
    sendMetrics(GlobalOpenTelemetry.get().meterBuilder("matrix").setInstrumentationVersion("1.2.3").build());
    Tracer tracer = GlobalOpenTelemetry.get().tracerBuilder("matrix").setInstrumentationVersion("1.2.3").build();
    Logger logger = GlobalOpenTelemetry.get().getLogsBridge().loggerBuilder("matrix").setInstrumentationVersion("1.2.3").build();
    Context within = Context.root();
    for (long n = 0; n < number("MATRIX_RECORDS"); n++) {
      if (n > 0 && n % portion == 0) {
        Thread.sleep(number("MATRIX_PAUSE"));
      }
      within = sendSpan(tracer, n, start, n % 2 == 1 ? within : Context.root());
      sendLog(logger, n, start, within);
    }
  }

  private static Context sendSpan(Tracer tracer, long n, long start, Context parent) {
    long began = start + n * MILLISECOND;
    SpanContext elsewhere =
        SpanContext.createFromRemoteParent(
            "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", TraceFlags.getSampled(), TraceState.getDefault());
    Span span =
        tracer
            .spanBuilder("span " + n)
            .setParent(parent)
            .setSpanKind(SpanKind.SERVER)
            .setStartTimestamp(began, TimeUnit.NANOSECONDS)
            .setAllAttributes(attributes(n))
            .addLink(elsewhere, Attributes.of(AttributeKey.longKey("number"), n))
            .startSpan();
    span.addEvent("step", Attributes.of(AttributeKey.longKey("number"), n), began + MILLISECOND / 2, TimeUnit.NANOSECONDS);
    if (n % 3 == 1) {
      span.setStatus(StatusCode.OK);
    } else if (n % 3 == 2) {
      span.setStatus(StatusCode.ERROR, "failed " + n);
    }
    span.end(began + 3 * MILLISECOND / 2, TimeUnit.NANOSECONDS);
    System.out.println("span " + n + " " + span.getSpanContext().getTraceId() + " " + span.getSpanContext().getSpanId());
    return Context.root().with(span);
  }

  private static void sendLog(Logger logger, long n, long start, Context within) {
    Severity severity = SEVERITIES[(int) (n % 3)];
    logger
        .logRecordBuilder()
        .setTimestamp(start + n * MILLISECOND, TimeUnit.NANOSECONDS)
        .setContext(within)
        .setSeverity(severity)
        .setSeverityText(severity.name())
        .setBody("record " + n)
        .setAllAttributes(attributes(n))
        .emit();
  }

  private static void sendMetrics(Meter meter) {
    var sum = meter.counterBuilder("matrix.sum").setUnit("By").setDescription("numbers, summed").build();
    var gauge = meter.gaugeBuilder("matrix.gauge").setUnit("Cel").build();
    var histogram = meter.histogramBuilder("matrix.histogram").setUnit("s").build();
    for (long n = 0; n < 5; n++) {
      Attributes attributes = Attributes.of(AttributeKey.longKey("number"), n);
      sum.add(n + 1, attributes);
      gauge.set(n + 0.5, attributes);
      for (double value : new double[] {1, 7, 30}) {
        histogram.record(value, attributes);
      }
    }
  }

  private static Attributes attributes(long n) {
    return Attributes.builder()
        .put("number", n)
        .put("share", n + 0.5)
        .put("even", n % 2 == 0)
        .put("text", "Grüße " + n)
        .put(AttributeKey.stringArrayKey("list"), List.of("a", Long.toString(n)))
        .build();
  }

  private static long number(String name) {
    return Long.parseLong(System.getenv(name));
  }
}
