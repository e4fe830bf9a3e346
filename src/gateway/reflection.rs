//! gRPC's reflection (`grpc.reflection.v1`, and `v1alpha` for older clients): what grpcurl and the like read so that they need no .proto files. Behind
//! `listen.grpc_reflection`, and without a key, as health is: it tells what everybody may read in OTLP's repository.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};
use tower::ServiceExt;

use crate::reply::ReplyBody;

/// OTLP's services and messages, as `build.rs` compiled them.
const OTLP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/otlp.binpb"));
const METHODS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// A symbol's name is all that is asked.
const MAX_REQUEST_BYTES: usize = 4096;

/// The reflection services of the OTLP ports.
#[derive(Debug, Clone)]
pub(super) struct Reflection(Routes);

impl Reflection {
    /// Tells of these services, and of health.
    ///
    /// # Errors
    /// The descriptors that were compiled in cannot be read: a fault of the build.
    pub(super) fn new(services: &[&str]) -> Result<Self, Error> {
        let builder = || {
            let known = Builder::configure()
                .register_encoded_file_descriptor_set(OTLP)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            services.iter().copied().fold(known, Builder::with_service_name)
        };
        let v1 = builder().build_v1()?.max_decoding_message_size(MAX_REQUEST_BYTES);
        let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(MAX_REQUEST_BYTES);
        Ok(Reflection(Routes::new(v1).add_service(v1alpha)))
    }

    /// Whether this path is a method of the services.
    pub(super) fn is_asked(path: &str) -> bool {
        METHODS.contains(&path)
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let Ok(response) = self.0.clone().oneshot(request).await;
        response.map(ReplyBody::from)
    }
}
