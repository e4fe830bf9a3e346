//! Realistic OTLP export requests.
