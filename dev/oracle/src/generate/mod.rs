//! Random valid requests of all signals: every field, every value type, nesting, unusual numbers, empty and missing parts,
//! unicode, and every body that ClickStack's log transforms look at.

mod logs;
mod metrics;
mod traces;
mod values;

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// A source of random requests; the same seed makes the same requests.
pub(crate) struct Generator {
    rng: StdRng,
    /// How often each kind of log was made: the branches of the transforms that they are made to take.
    pub(crate) branches: BTreeMap<&'static str, u64>,
    serial: u64,
}

impl Generator {
    /// A generator for a seed.
    pub(crate) fn new(seed: u64) -> Generator {
        Generator { rng: StdRng::seed_from_u64(seed), branches: BTreeMap::new(), serial: 0 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn several<T>(&mut self, most: usize, mut make: impl FnMut(&mut Generator) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }

    /// Random bytes; sometimes none.
    fn id(&mut self, length: usize) -> Vec<u8> {
        if self.chance(0.15) {
            return Vec::new();
        }
        let mut id = vec![0; length];
        if !self.chance(0.05) {
            self.rng.fill_bytes(&mut id);
        }
        id
    }

    /// Moments around 2026, a few at the epoch; each differs from the others.
    fn time(&mut self) -> u64 {
        self.serial += 1;
        if self.chance(0.02) {
            return self.serial;
        }
        1_770_000_000_000_000_000 + self.rng.random_range(0..20_000_000_000_000_000) / 1000 * 1000 + self.serial % 1000
    }

    fn resource(&mut self) -> Option<Resource> {
        if self.chance(0.05) {
            return None;
        }
        let mut attributes = self.attributes(4);
        if self.chance(0.85) {
            let name = self.service_name();
            attributes.push(name);
        }
        for key in [
            "k8s.cluster.name",
            "k8s.container.name",
            "k8s.deployment.name",
            "k8s.namespace.name",
            "k8s.node.name",
            "k8s.pod.name",
            "k8s.pod.uid",
            "deployment.environment.name",
            "rum.sessionId",
        ] {
            if self.chance(0.1) {
                attributes.push(values::text_attribute(key, &format!("{key}-{}", self.below(3))));
            }
        }
        Some(Resource { attributes: distinct(attributes), dropped_attributes_count: 0, ..Default::default() })
    }

    fn service_name(&mut self) -> KeyValue {
        if self.chance(0.05) {
            values::attribute("service.name", self.value(1))
        } else {
            values::text_attribute("service.name", &format!("service-{}", self.below(5)))
        }
    }

    fn scope(&mut self) -> Option<InstrumentationScope> {
        if self.chance(0.1) {
            return None;
        }
        Some(InstrumentationScope {
            name: self.text(),
            version: self.pick(&["", "1.0", "2.1.3"]).to_owned(),
            attributes: distinct(self.attributes(2)),
            dropped_attributes_count: self.pick(&[0, 0, 1, u32::MAX]),
        })
    }

    fn schema_url(&mut self) -> String {
        self.pick(&["", "https://opentelemetry.io/schemas/1.37.0", "https://example.com/ü"]).to_owned()
    }
}

/// Valid OTLP has each key once.
fn distinct(attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    let mut seen = std::collections::BTreeSet::new();
    attributes.into_iter().filter(|attribute| seen.insert(attribute.key.clone())).collect()
}
