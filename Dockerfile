# The image of the pre-install Job (kubectl capt-spot hook): one static binary and the public certificate authorities, on nothing.
#
# From source:      docker build -t kubectl-capt-spot .
# The release gives its own binaries and certificate authorities in place of the stage `build`, so that no base image is pulled:
#                   docker buildx build --build-context build=FOLDER ...
# with FOLDER/out/amd64/kubectl-capt_spot, FOLDER/out/arm64/kubectl-capt_spot and FOLDER/out/ca-certificates.crt.
ARG RUST_IMAGE=rust:1.95-alpine
FROM ${RUST_IMAGE} AS build
ARG TARGETARCH
# ring, the one TLS provider, is C and assembly.
RUN apk add --no-cache build-base ca-certificates-bundle
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin kubectl-capt_spot \
    && mkdir -p "/out/${TARGETARCH}" \
    && cp target/release/kubectl-capt_spot "/out/${TARGETARCH}/" \
    && cp /etc/ssl/certs/ca-certificates.crt /out/

FROM scratch
ARG TARGETARCH
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kubectl-capt-spot" \
      org.opencontainers.image.description="Will Karpenter get EC2 Spot capacity on this EKS cluster, and if not, what must change" \
      org.opencontainers.image.source="https://github.com/appthrust/kubectl-capt-spot" \
      org.opencontainers.image.documentation="https://github.com/appthrust/kubectl-capt-spot/blob/main/docs/gitops.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /LICENSE
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/${TARGETARCH}/kubectl-capt_spot /usr/local/bin/kubectl-capt_spot
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/kubectl-capt_spot"]
