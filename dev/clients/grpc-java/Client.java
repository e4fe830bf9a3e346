import com.google.protobuf.ByteString;
import io.grpc.ClientInterceptor;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import io.opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest;
import io.opentelemetry.proto.collector.logs.v1.LogsServiceGrpc;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.collector.trace.v1.TraceServiceGrpc;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.logs.v1.LogRecord;
import io.opentelemetry.proto.logs.v1.ResourceLogs;
import io.opentelemetry.proto.logs.v1.ScopeLogs;
import io.opentelemetry.proto.resource.v1.Resource;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Sends numbered spans and log records with grpc-java on Netty and OTLP's own services, over channels that ping as often as grpc-java lets anybody ask for,
 * also while there is no call. What is sent, and how fast, is said by MATRIX_… (see dev/clients/README.md).
 */
public final class Client {
  private static final long MILLISECOND = 1_000_000;
  private static final Resource RESOURCE =
      Resource.newBuilder().addAttributes(text("service.name", System.getenv("OTEL_SERVICE_NAME"))).build();

  public static void main(String[] arguments) throws IOException, InterruptedException {
    Logger frames = Logger.getLogger("io.grpc.netty.shaded.io.grpc.netty.NettyClientHandler");
    frames.setUseParentHandlers(false);
    frames.setLevel(Level.FINE);
    frames.addHandler(new Told());
    ManagedChannel spans = channel("spans");
    ManagedChannel records = channel("records");
    var traces = TraceServiceGrpc.newBlockingStub(spans).withInterceptors(key());
    var logs = LogsServiceGrpc.newBlockingStub(records).withInterceptors(key());
    long portion = number("MATRIX_PORTION");
    for (long first = 0; first < number("MATRIX_RECORDS"); first += portion) {
      if (first > 0) {
        Thread.sleep(number("MATRIX_PAUSE"));
      }
      traces.export(spansFrom(first, first + portion));
      logs.export(recordsFrom(first, first + portion));
    }
    for (ManagedChannel channel : new ManagedChannel[] {spans, records}) {
      channel.shutdown().awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  private static ManagedChannel channel(String whose) throws IOException {
    URI endpoint = URI.create(System.getenv("OTEL_EXPORTER_OTLP_ENDPOINT"));
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("OTEL_EXPORTER_OTLP_CERTIFICATE"))).build();
    ManagedChannel channel =
        Grpc.newChannelBuilderForAddress(endpoint.getHost(), endpoint.getPort(), tls)
            .keepAliveTime(10, TimeUnit.SECONDS)
            .keepAliveWithoutCalls(true)
            .build();
    tellConnections(channel, whose);
    return channel;
  }

  private static void tellConnections(ManagedChannel channel, String whose) {
    ConnectivityState state = channel.getState(false);
    if (state == ConnectivityState.READY) {
      System.out.println("connected " + whose);
    }
    channel.notifyWhenStateChanged(state, () -> tellConnections(channel, whose));
  }

  private static ClientInterceptor key() {
    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), System.getenv("MATRIX_KEY"));
    return MetadataUtils.newAttachHeadersInterceptor(headers);
  }

  private static ExportTraceServiceRequest spansFrom(long first, long end) {
    ScopeSpans.Builder scope = ScopeSpans.newBuilder();
    for (long n = first; n < end; n++) {
      ByteString span = ByteString.copyFrom(ByteBuffer.allocate(8).putLong(n + 1).flip());
      scope.addSpans(
          Span.newBuilder()
              .setTraceId(span.concat(span))
              .setSpanId(span)
              .setName("span " + n)
              .setStartTimeUnixNano(at(n))
              .setEndTimeUnixNano(at(n) + MILLISECOND)
              .addAttributes(text("number", Long.toString(n))));
      System.out.printf("span %d %032x %016x%n", n, n + 1, n + 1);
    }
    return ExportTraceServiceRequest.newBuilder()
        .addResourceSpans(ResourceSpans.newBuilder().setResource(RESOURCE).addScopeSpans(scope))
        .build();
  }

  private static ExportLogsServiceRequest recordsFrom(long first, long end) {
    ScopeLogs.Builder scope = ScopeLogs.newBuilder();
    for (long n = first; n < end; n++) {
      AnyValue body = AnyValue.newBuilder().setStringValue("record " + n).build();
      scope.addLogRecords(
          LogRecord.newBuilder().setTimeUnixNano(at(n)).setBody(body).addAttributes(text("number", Long.toString(n))));
    }
    return ExportLogsServiceRequest.newBuilder()
        .addResourceLogs(ResourceLogs.newBuilder().setResource(RESOURCE).addScopeLogs(scope))
        .build();
  }

  private static KeyValue text(String name, String value) {
    return KeyValue.newBuilder().setKey(name).setValue(AnyValue.newBuilder().setStringValue(value)).build();
  }

  private static long at(long n) {
    return number("MATRIX_START") + n * MILLISECOND;
  }

  private static long number(String name) {
    return Long.parseLong(System.getenv(name));
  }

  /** Says what the server does with pings, by what grpc-java notes of its frames. */
  private static final class Told extends Handler {
    @Override
    public void publish(java.util.logging.LogRecord record) {
      String said = record.getMessage();
      // 1111 is what its keepalive sends; other pings measure the bandwidth.
      if (said.contains("INBOUND PING: ack=true bytes=1111")) {
        System.out.println("pinged");
      } else if (said.contains("INBOUND GO_AWAY") && !said.contains("errorCode=0 ")) {
        // Without an error it answers the client's own; a connection that is opened again is told of anyhow.
        System.out.println("goaway " + said);
      }
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }
}
