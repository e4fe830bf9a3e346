// Sends numbered spans, log records and metrics with HyperDX's Node SDK. It takes its settings from the OTEL_… and HYPERDX_… variables; what is sent, and
// how fast, is said by MATRIX_… (see dev/clients/README.md).

import { metrics, trace } from '@opentelemetry/api';
import { logs } from '@opentelemetry/api-logs';
import { init, shutdown } from '@hyperdx/node-opentelemetry';
import { sendAll } from './matrix.mjs';

init({ consoleCapture: false });
await sendAll(trace, logs, metrics);
await shutdown();
