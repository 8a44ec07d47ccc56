# The image of the pre-install Job (kubectl capt-spot hook): one static binary and the public certificate authorities.
#
# Here it is built from source:      docker build -t kubectl-capt-spot .
# The release gives its own binaries in place of the stage `build`: docker buildx build --build-context build=FOLDER,
# with the binaries in FOLDER/out/amd64 and FOLDER/out/arm64.
FROM rust:1.95-alpine AS build
ARG TARGETARCH
# ring, the one TLS provider, is C and assembly.
RUN apk add --no-cache build-base
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin kubectl-capt_spot \
    && mkdir -p "/out/${TARGETARCH}" \
    && cp target/release/kubectl-capt_spot "/out/${TARGETARCH}/"

FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGETARCH
COPY LICENSE /LICENSE
COPY --from=build /out/${TARGETARCH}/kubectl-capt_spot /usr/local/bin/kubectl-capt_spot
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/kubectl-capt_spot"]
