package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Exporters over gRPC that ping as often as grpc-go lets anybody ask for, also while there is no call.
func keptAlive(ctx context.Context) (spans sdktrace.SpanExporter, records sdklog.Exporter, points sdkmetric.Exporter, err error) {
	pings := grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 20 * time.Second, PermitWithoutStream: true})
	tls, err := credentials.NewClientTLSFromFile(os.Getenv("OTEL_EXPORTER_OTLP_CERTIFICATE"), "")
	if err != nil {
		return
	}
	if spans, err = otlptracegrpc.New(ctx, otlptracegrpc.WithTLSCredentials(watched{tls, "traces"}), otlptracegrpc.WithDialOption(pings)); err != nil {
		return
	}
	if records, err = otlploggrpc.New(ctx, otlploggrpc.WithTLSCredentials(watched{tls, "logs"}), otlploggrpc.WithDialOption(pings)); err != nil {
		return
	}
	points, err = otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithTLSCredentials(watched{tls, "metrics"}), otlpmetricgrpc.WithDialOption(pings))
	return
}

// TLS whose connections say what the server does with pings: grpc-go has no other place where that is seen.
type watched struct {
	credentials.TransportCredentials
	whose string
}

func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.whose}
}

func (w watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	inner, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	fmt.Printf("connected %s\n", w.whose)
	read, write := io.Pipe()
	go w.tell(http2.NewFramer(nil, read))
	return tapped{inner, write}, info, nil
}

func (w watched) tell(frames *http2.Framer) {
	for {
		frame, err := frames.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.PingFrame:
			// Those with which grpc-go measures the bandwidth are not empty.
			if frame.IsAck() && frame.Data == [8]byte{} {
				fmt.Println("pinged")
			}
		case *http2.GoAwayFrame:
			// Without an error it answers the client's own; a connection that is opened again is told of anyhow.
			if frame.ErrCode != http2.ErrCodeNo {
				fmt.Printf("goaway %s: %v, %q\n", w.whose, frame.ErrCode, frame.DebugData())
			}
		}
	}
}

// A connection whose incoming bytes are copied.
type tapped struct {
	net.Conn
	copy *io.PipeWriter
}

func (t tapped) Read(into []byte) (int, error) {
	count, err := t.Conn.Read(into)
	t.copy.Write(into[:count])
	if err != nil {
		t.copy.CloseWithError(err)
	}
	return count, err
}
