//! Random valid requests of all signals: every field, every value type, nesting, unusual numbers, empty and missing parts,
//! unicode, and every body that ClickStack's log transforms look at.

mod logs;
mod metrics;
mod traces;
mod values;

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// The last moments of a DateTime, of a DateTime64(9), and of what nanoseconds say.
const EDGES: [u64; 6] = [0, 4_294_967_295_999_999_999, 4_294_967_296_000_000_000, i64::MAX as u64, 1 << 63, u64::MAX];

/// A source of random requests; the same seed makes the same requests.
pub(crate) struct Generator {
    rng: StdRng,
    /// How often each kind of log was made, and what else is worth counting.
    pub(crate) branches: BTreeMap<&'static str, u64>,
    /// Whether JSON bodies have keys that clash when they are flat.
    pub(crate) clashes: bool,
    serial: u64,
}

impl Generator {
    /// A generator for a seed.
    pub(crate) fn new(seed: u64) -> Generator {
        Generator { rng: StdRng::seed_from_u64(seed), branches: BTreeMap::new(), clashes: true, serial: 0 }
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

    /// Moments of a few days, some at the ends of what fits; nearly all differ. ClickHouse takes parts of at most 100 days at once, and
    /// the collector does not spread what it inserts.
    fn time(&mut self) -> u64 {
        const DAYS: u64 = 4 * 86_400 * 1_000_000;
        self.serial += 1;
        match self.below(200) {
            0..=2 => self.serial,
            3 => self.pick(&EDGES),
            _ => 1_770_000_000_000_000_000 + self.rng.random_range(0..DAYS) * 1000 + self.serial % 1000,
        }
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
        Some(Resource {
            attributes,
            dropped_attributes_count: self.dropped(),
            entity_refs: self.several(1, |generator| EntityRef {
                schema_url: generator.schema_url(),
                r#type: "service".to_owned(),
                id_keys: vec!["service.name".to_owned()],
                description_keys: vec![generator.text()],
            }),
        })
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
            attributes: self.attributes(2),
            dropped_attributes_count: self.dropped(),
        })
    }

    /// How many of something a producer dropped.
    fn dropped(&mut self) -> u32 {
        self.pick(&[0, 0, 1, u32::MAX])
    }

    /// Counts what was made.
    fn count(&mut self, made: &'static str) {
        *self.branches.entry(made).or_default() += 1;
    }

    fn schema_url(&mut self) -> String {
        self.pick(&["", "https://opentelemetry.io/schemas/1.37.0", "https://example.com/ü"]).to_owned()
    }
}

/// The first of each key.
fn distinct(attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    let mut seen = std::collections::BTreeSet::new();
    attributes.into_iter().filter(|attribute| seen.insert(attribute.key.clone())).collect()
}
