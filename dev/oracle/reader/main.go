// Reads OTLP/JSON as the collector does: the same unmarshaler of its pdata module. It takes documents on its standard input, each behind a byte that
// names its signal (0 traces, 1 logs, 2 metrics) and its length in four bytes, and answers with a byte that says whether it was taken, a length, and
// the request as protobuf or the reason.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type request interface {
	UnmarshalJSON([]byte) error
	MarshalProto() ([]byte, error)
}

func read(signal byte, document []byte) (protobuf []byte, err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("panic: %v", why)
		}
	}()
	var into request
	switch signal {
	case 0:
		into = ptraceotlp.NewExportRequest()
	case 1:
		into = plogotlp.NewExportRequest()
	default:
		into = pmetricotlp.NewExportRequest()
	}
	if err := into.UnmarshalJSON(document); err != nil {
		return nil, err
	}
	return into.MarshalProto()
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	var head [5]byte
	for {
		if in.Buffered() == 0 {
			out.Flush()
		}
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		document := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, document); err != nil {
			return
		}
		protobuf, err := read(head[0], document)
		taken := byte(1)
		if err != nil {
			taken, protobuf = 0, []byte(err.Error())
		}
		out.WriteByte(taken)
		binary.BigEndian.PutUint32(head[1:], uint32(len(protobuf)))
		out.Write(head[1:])
		out.Write(protobuf)
	}
}
