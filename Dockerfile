# The image holds `otelgate` alone and runs it as a user without rights.
FROM rust:1.95-bookworm AS build
# cmake builds aws-lc, jq writes the SBOM; whichever versions Debian has.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake jq && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/release.sh /release \
 && mkdir -p /out/state/spool

FROM debian:bookworm-slim
RUN groupadd --system --gid 65532 otelgate && useradd --system --uid 65532 --gid 65532 --no-create-home otelgate
COPY --from=build /release/otelgate /usr/local/bin/otelgate
COPY --from=build /release/LICENCES.txt /release/otelgate.cdx.json /usr/share/doc/otelgate/
COPY --from=build --chown=65532:65532 /out/state /var/lib/otelgate
# By number, so that who runs it can tell that it is not root.
USER 65532:65532
VOLUME /var/lib/otelgate
EXPOSE 4317 4318
# Kubernetes does not look at this: it has probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/local/bin/otelgate", "health", "--config", "/etc/otelgate/otelgate.yaml"]
ENTRYPOINT ["/usr/local/bin/otelgate"]
CMD ["serve", "--config", "/etc/otelgate/otelgate.yaml"]
