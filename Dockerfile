# The image for those who build with a container engine. `make image` makes the same one without, and reproducibly:
# releases are made by that. Both take the root file system from tools/image, and a test compares what is said below.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t quaygen . \
#     --build-arg VERSION=$(git describe --tags --always) --build-arg REVISION=$(git rev-parse HEAD) \
#     --build-arg CREATED=$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)
#
# The program finds version, commit and date in .git, which is therefore part of the context; the arguments are for the
# labels alone.

# Pinned by its exact version. Whoever builds for others adds the digest that their registry shows for it: golang:1.26.8@sha256:...
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    cd tools/image && go run . root -source ../.. -platform "$TARGETOS/$TARGETARCH" -out /image

# Nothing but the program, certificate authorities and the name of its user: no shell, no C library.
FROM scratch
COPY --from=build /image/ /
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="quaygen" \
      org.opencontainers.image.description="Image pull secrets for private Quay organizations, rotated without breaking a pull" \
      org.opencontainers.image.url="https://github.com/quaygen/quaygen" \
      org.opencontainers.image.source="https://github.com/quaygen/quaygen" \
      org.opencontainers.image.documentation="https://github.com/quaygen/quaygen/blob/main/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
USER 65532:65532
WORKDIR /
EXPOSE 8443 9443 9090
ENTRYPOINT ["/generator"]
CMD ["serve", "--config=/etc/quaygen/generator.yaml"]
