# Sluicegate alone: one static binary, the CA certificates for mqtts, an empty folder for the spool.
# No shell, no package manager, nothing that the gateway does not open.
#
#   docker build -t sluicegate .
#
# docker-compose.yml shows what it needs to run: a configuration in /etc/sluicegate, a volume for the spool.
ARG RUST_VERSION=1.94
FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src
# With glibc linked in, the image needs no libc; name resolution by files and DNS is part of glibc.
# A target named in so many words keeps these flags from procedural macros, which cannot be static.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# The dependencies are a layer of their own, built from the manifest and empty sources: it stays in the
# cache until the manifest or the lock file changes. The tests and benches are named in the manifest, so
# their files have to be there.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches tests \
 && touch src/lib.rs \
 && for main in src/main.rs benches/gateway.rs benches/codecs.rs tests/main.rs; do echo 'fn main() {}' > "$main"; done \
 && cargo build --release --locked --no-default-features --target "$(rustc --print host-tuple)"

# The sources keep the times of the checkout, which may be older than the empty ones that were built.
COPY src src
RUN touch src/lib.rs src/main.rs \
 && cargo build --release --locked --no-default-features --target "$(rustc --print host-tuple)" \
 && mkdir -p /image/etc/ssl/certs /image/var/lib /state/sluicegate \
 && cp "target/$(rustc --print host-tuple)/release/sluicegate" /image/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image/ /
# /var/lib/sluicegate: a new volume takes its owner from it.
COPY --from=build --chown=10001:10001 /state/ /var/lib/
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["/sluicegate", "health"]
ENTRYPOINT ["/sluicegate"]
