// The numbered records that a client for Node sends (see dev/clients/README.md), through whatever SDK it has set up.

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';

const start = BigInt(process.env.MATRIX_START);
const records = Number(process.env.MATRIX_RECORDS);
const portion = Number(process.env.MATRIX_PORTION);
const pause = Number(process.env.MATRIX_PAUSE);

// Seconds and nanoseconds, `micros` after the number's own time.
function time(number, micros = 0) {
  const nanos = start + BigInt(number) * 1_000_000n + BigInt(micros) * 1_000n;
  return [Number(nanos / 1_000_000_000n), Number(nanos % 1_000_000_000n)];
}

function attributes(number) {
  return { number, share: number + 0.5, even: number % 2 === 0, text: `Grüße ${number}`, list: ['a', String(number)] };
}

function sendSpan(tracer, number, parent) {
  const elsewhere = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1, isRemote: true };
  const options = {
    kind: SpanKind.SERVER,
    attributes: attributes(number),
    links: [{ context: elsewhere, attributes: { number } }],
    startTime: time(number),
  };
  const context = number % 2 === 1 ? trace.setSpan(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
  const span = tracer.startSpan(`span ${number}`, options, context);
  span.addEvent('step', { number }, time(number, 500));
  if (number % 3 === 1) span.setStatus({ code: SpanStatusCode.OK });
  if (number % 3 === 2) span.setStatus({ code: SpanStatusCode.ERROR, message: `failed ${number}` });
  span.end(time(number, 1500));
  const { traceId, spanId } = span.spanContext();
  process.stdout.write(`span ${number} ${traceId} ${spanId}\n`);
  return span;
}

function sendLog(logger, number, span) {
  const severity = ['INFO', 'WARN', 'ERROR'][number % 3];
  logger.emit({
    timestamp: time(number),
    context: trace.setSpan(ROOT_CONTEXT, span),
    severityNumber: SeverityNumber[severity],
    severityText: severity,
    body: `record ${number}`,
    attributes: attributes(number),
  });
}

function sendMetrics(meter) {
  const sum = meter.createCounter('matrix.sum', { unit: 'By', description: 'numbers, summed' });
  const gauge = meter.createGauge('matrix.gauge', { unit: 'Cel' });
  const histogram = meter.createHistogram('matrix.histogram', { unit: 's' });
  for (let number = 0; number < 5; number++) {
    sum.add(number + 1, { number });
    gauge.record(number + 0.5, { number });
    for (const value of [1, 7, 30]) histogram.record(value, { number });
  }
}

export async function sendAll(tracers, loggers, meters) {
  sendMetrics(meters.getMeter('matrix', '1.2.3'));
  const tracer = tracers.getTracer('matrix', '1.2.3');
  const logger = loggers.getLogger('matrix', '1.2.3');
  let span;
  for (let number = 0; number < records; number++) {
    if (number > 0 && number % portion === 0) await new Promise((resolve) => setTimeout(resolve, pause));
    span = sendSpan(tracer, number, span);
    sendLog(logger, number, span);
  }
}
