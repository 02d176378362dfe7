# Stoker in a small image: docker build -t stoker . ; docker run -v ./stoker.toml:/etc/stoker/stoker.toml stoker
# The compiler is the one of rust-toolchain.toml.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The cache holds the dependencies, so that a changed line does not build them again; the binary has to leave it.
RUN --mount=type=cache,target=/src/target --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked --bin stoker && cp target/release/stoker /stoker

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /stoker /usr/local/bin/stoker
USER 65534:65534
WORKDIR /etc/stoker
EXPOSE 9187
ENTRYPOINT ["stoker"]
CMD ["run", "-c", "stoker.toml"]
