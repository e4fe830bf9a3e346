//! Random spans.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::RngExt;

use super::Generator;
use super::values::text_attribute;

impl Generator {
    /// A request of spans.
    pub(crate) fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = self.several(3, |generator| ResourceSpans {
            resource: generator.resource(),
            scope_spans: generator.several(3, |generator| ScopeSpans {
                scope: generator.scope(),
                spans: generator.several(4, Generator::span),
                schema_url: generator.schema_url(),
            }),
            schema_url: generator.schema_url(),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    fn span(&mut self) -> Span {
        let start = self.time();
        let mut attributes = self.attributes(4);
        if self.chance(0.1) {
            attributes.push(text_attribute("SampleRate", self.pick(&["8", "0", "x", "-1"])));
        }
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            parent_span_id: self.id(8),
            trace_state: self.pick(&["", "a=1,b=2", "ü"]).to_owned(),
            flags: self.pick(&[0, 1, 0x100, u32::MAX]),
            name: self.text(),
            kind: self.pick(&[0, 1, 2, 3, 4, 5, 6, -1, 99]),
            start_time_unix_nano: start,
            end_time_unix_nano: if self.chance(0.05) {
                start.saturating_sub(5)
            } else {
                start.saturating_add(self.rng.random_range(0..1u64 << 40))
            },
            attributes,
            dropped_attributes_count: self.dropped(),
            events: self.several(3, |generator| Event {
                time_unix_nano: generator.time(),
                name: generator.text(),
                attributes: generator.attributes(2),
                dropped_attributes_count: generator.dropped(),
            }),
            dropped_events_count: self.dropped(),
            links: self.several(2, |generator| Link {
                trace_id: generator.id(16),
                span_id: generator.id(8),
                trace_state: generator.pick(&["", "c=3"]).to_owned(),
                attributes: generator.attributes(2),
                dropped_attributes_count: generator.dropped(),
                flags: generator.pick(&[0, 1, u32::MAX]),
            }),
            dropped_links_count: self.dropped(),
            status: if self.chance(0.3) {
                None
            } else {
                Some(Status { code: self.pick(&[0, 1, 2, 3, -1]), message: self.text() })
            },
        }
    }
}
