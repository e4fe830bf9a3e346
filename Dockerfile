# The image holds `otelgate` alone and runs it as a user without rights.
FROM rust:1.95-bookworm AS build
# cmake builds aws-lc, jq writes the SBOM; whichever versions Debian has.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake jq && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/release.sh /release \
 && mkdir -p /out/var/lib/otelgate/spool /out/etc/otelgate

FROM debian:bookworm-slim
RUN useradd --system --uid 65532 --no-create-home otelgate
COPY --from=build /release/otelgate /usr/local/bin/otelgate
COPY --from=build /release/LICENCES.txt /release/otelgate.cdx.json /usr/share/doc/otelgate/
COPY --from=build --chown=otelgate:otelgate /out/ /
# By number, so that who runs it can tell that it is not root.
USER 65532
VOLUME /var/lib/otelgate
EXPOSE 4317 4318
ENTRYPOINT ["/usr/local/bin/otelgate"]
CMD ["serve", "--config", "/etc/otelgate/otelgate.yaml"]
