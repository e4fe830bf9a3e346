//! Compiles `proto/` at build time, without a protoc installed.

use std::path::Path;

/// What reflection tells of OTLP.
const SERVICES: [&str; 4] = [
    "collector/trace/v1/trace_service.proto",
    "collector/metrics/v1/metrics_service.proto",
    "collector/logs/v1/logs_service.proto",
    "collector/profiles/v1development/profiles_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/opamp.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;

    let mut otlp = protox::Compiler::new(["proto"])?;
    // Without the comments, which are most of it.
    otlp.include_imports(true).include_source_info(false);
    for service in SERVICES {
        otlp.open_file(Path::new("opentelemetry/proto").join(service))?;
    }
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("otlp.binpb"), otlp.encode_file_descriptor_set())?;
    Ok(())
}
