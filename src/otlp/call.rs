//! What a request's head says: which protocol, which signal, which compression. Read before authentication, so it looks at nothing but the
//! head and allocates nothing.

use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use crate::reply::Refusal;
use crate::signal::{Protocol, Signal};

/// `content-encoding` values that OTLP/HTTP takes.
const HTTP_ENCODINGS: &str = "gzip, zstd, deflate, zlib, snappy, lz4";
/// `grpc-encoding` values that OTLP/gRPC takes, in the form of `grpc-accept-encoding`.
const GRPC_ENCODINGS: &str = "identity,gzip,zstd,snappy";

/// How a request's bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Gzip, one or more members (RFC 1952).
    Gzip,
    /// Zstandard, one or more frames with a window of at most 8 MiB (RFC 8878, RFC 9659).
    Zstd,
    /// Zlib (RFC 1950), or the raw deflate stream (RFC 1951) that some clients send under the name `deflate`.
    Deflate,
    /// Snappy, as one raw block or framed.
    Snappy,
    /// One LZ4 frame.
    Lz4,
}

/// What a request's head says about the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// How the request and its answer are written.
    pub(crate) protocol: Protocol,
    /// What it carries.
    pub(crate) signal: Signal,
    /// How its bytes are compressed; over gRPC each message says whether it is.
    pub(crate) compression: Option<Compression>,
}

impl Call {
    /// Reads a head.
    ///
    /// # Errors
    /// [`Refusal::UnknownPath`], [`Refusal::MethodNotAllowed`], [`Refusal::UnsupportedContentType`] and [`Refusal::UnknownCompression`], in
    /// this order; over gRPC [`Refusal::NotHttp2`] and [`Refusal::UnknownMethod`] are the first.
    pub(crate) fn of(head: &Parts) -> Result<Call, Refusal> {
        let named = Protocol::named(&head.headers);
        let path = head.uri.path();
        let at = |of: fn(Signal) -> &'static str| Signal::ALL.into_iter().find(|signal| of(*signal) == path);
        let signal = match (named, at(Signal::http_path), at(Signal::grpc_path)) {
            // Its answer ends in trailers, which an HTTP/1.1 client does not get to see.
            (Some(Protocol::Grpc), ..) if head.version < Version::HTTP_2 => return Err(Refusal::NotHttp2),
            (Some(Protocol::Grpc), _, Some(signal)) => signal,
            (Some(Protocol::Grpc), _, None) => return Err(Refusal::UnknownMethod),
            (_, Some(signal), _) => signal,
            (_, None, Some(_)) => return Err(Refusal::UnsupportedContentType),
            (_, None, None) => return Err(Refusal::UnknownPath),
        };
        if head.method != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        let protocol = named.ok_or(Refusal::UnsupportedContentType)?;
        let compression = match protocol {
            Protocol::Grpc => grpc_compression(&head.headers)?,
            Protocol::HttpProtobuf | Protocol::HttpJson => http_compression(&head.headers)?,
        };
        Ok(Call { protocol, signal, compression })
    }
}

fn http_compression(headers: &HeaderMap) -> Result<Option<Compression>, Refusal> {
    one_encoding(headers, CONTENT_ENCODING.as_str(), HTTP_ENCODINGS, |name| {
        Some(match name {
            "gzip" | "x-gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            "deflate" | "zlib" => Compression::Deflate,
            "snappy" | "x-snappy-framed" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            _ => return None,
        })
    })
}

fn grpc_compression(headers: &HeaderMap) -> Result<Option<Compression>, Refusal> {
    one_encoding(headers, "grpc-encoding", GRPC_ENCODINGS, |name| {
        Some(match name {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            "snappy" => Compression::Snappy,
            _ => return None,
        })
    })
}

/// The one encoding that `header` names, compared without case. Encodings applied one after another are refused: nobody needs them, and each
/// multiplies what a small body can cost.
fn one_encoding(
    headers: &HeaderMap,
    header: &str,
    known: &'static str,
    lookup: impl Fn(&str) -> Option<Compression>,
) -> Result<Option<Compression>, Refusal> {
    let unknown = Refusal::UnknownCompression { known };
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let (None, Ok(value)) = (values.next(), value.to_str()) else {
        return Err(unknown);
    };
    match value.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        name => lookup(name).map(Some).ok_or(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(path).version(Version::HTTP_2);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn call(method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Call, Refusal> {
        Call::of(&head(method, path, headers))
    }

    #[test]
    fn the_content_type_names_the_protocol_in_any_case_and_with_parameters() {
        let cases = [
            ("application/x-protobuf", Ok(Protocol::HttpProtobuf)),
            ("Application/JSON; charset=utf-8", Ok(Protocol::HttpJson)),
            ("application/json ;a=b", Ok(Protocol::HttpJson)),
            ("text/plain", Err(Refusal::UnsupportedContentType)),
            ("application/jsonx", Err(Refusal::UnsupportedContentType)),
        ];
        for (content_type, expected) in cases {
            let got = call("POST", "/v1/logs", &[("content-type", content_type)]);
            assert_eq!(got.map(|call| call.protocol), expected, "{content_type}");
        }
        assert_eq!(call("POST", "/v1/logs", &[]), Err(Refusal::UnsupportedContentType));
    }

    #[test]
    fn a_path_is_known_before_its_method_and_its_method_before_its_type() {
        let json = [("content-type", "application/json")];
        for (path, signal) in [
            ("/v1/traces", Signal::Traces),
            ("/v1/metrics?x=1", Signal::Metrics),
            ("/v1/logs", Signal::Logs),
            ("/v1development/profiles", Signal::Profiles),
        ] {
            assert_eq!(call("POST", path, &json).unwrap().signal, signal);
        }
        assert_eq!(call("GET", "/v1/trace", &[]), Err(Refusal::UnknownPath));
        assert_eq!(call("POST", "/v1/traces/", &json), Err(Refusal::UnknownPath));
        assert_eq!(call("GET", "/v1/traces", &[]), Err(Refusal::MethodNotAllowed));
    }

    #[test]
    fn grpc_knows_a_method_a_signal() {
        let grpc = [("content-type", "application/grpc+proto")];
        let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let got = call("POST", logs, &grpc).unwrap();
        assert_eq!((got.protocol, got.signal, got.compression), (Protocol::Grpc, Signal::Logs, None));
        for path in ["/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Import", "/"] {
            assert_eq!(call("POST", path, &grpc), Err(Refusal::UnknownMethod));
        }
        let web = [("content-type", "application/grpc-web")];
        assert_eq!(call("POST", logs, &web), Err(Refusal::UnsupportedContentType));
    }

    #[test]
    fn one_known_encoding_is_taken() {
        let http = |encodings: &[&str]| {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(encodings.iter().map(|value| ("content-encoding", *value)));
            call("POST", "/v1/logs", &headers).map(|call| call.compression)
        };
        let unknown = Err(Refusal::UnknownCompression { known: HTTP_ENCODINGS });
        assert_eq!(http(&[]), Ok(None));
        assert_eq!(http(&["identity"]), Ok(None));
        assert_eq!(http(&["GZip"]), Ok(Some(Compression::Gzip)));
        assert_eq!(http(&["zlib"]), Ok(Some(Compression::Deflate)));
        assert_eq!(http(&["lz4"]), Ok(Some(Compression::Lz4)));
        assert_eq!(http(&["br"]), unknown);
        assert_eq!(http(&["gzip, gzip"]), unknown);
        assert_eq!(http(&["gzip", "gzip"]), unknown);
    }

    #[test]
    fn grpc_over_http_1_is_told_in_words() {
        let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let mut head = head("POST", logs, &[("content-type", "application/grpc")]);
        head.version = Version::HTTP_11;
        assert_eq!(Call::of(&head), Err(Refusal::NotHttp2));
        assert_eq!(Protocol::of(&head), None);
    }

    #[test]
    fn grpc_has_encodings_of_its_own() {
        let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let grpc = |encoding| {
            let headers = [("content-type", "application/grpc"), ("grpc-encoding", encoding)];
            call("POST", logs, &headers).map(|call| call.compression)
        };
        assert_eq!(grpc("zstd"), Ok(Some(Compression::Zstd)));
        assert_eq!(grpc("lz4"), Err(Refusal::UnknownCompression { known: GRPC_ENCODINGS }));
    }

    #[test]
    fn a_refusal_is_answered_in_the_protocol_of_the_request() {
        let of = |content_type| Protocol::of(&head("GET", "/", &[("content-type", content_type)]));
        for grpc in ["application/grpc", "application/grpc+proto", "Application/gRPC+json; charset=utf-8"] {
            assert_eq!(of(grpc), Some(Protocol::Grpc), "{grpc}");
        }
        assert_eq!(of("application/grpc-web+proto"), None);
        assert_eq!(of("application/json"), Some(Protocol::HttpJson));
        assert_eq!(of("text/html"), None);
    }
}
