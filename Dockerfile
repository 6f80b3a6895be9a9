# syntax=docker/dockerfile:1
# docker build --build-arg VERSION=v0.1.0 -t quaygen .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY pkg ./pkg
COPY cmd/generator ./cmd/generator
ARG TARGETOS TARGETARCH VERSION=""
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION" -o /generator ./cmd/generator

# Static, without a shell; holds the CA certificates that Quay's is checked against, and the user 65532.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /generator /generator
USER 65532:65532
EXPOSE 8443 9090
ENTRYPOINT ["/generator"]
CMD ["serve", "--config=/etc/quaygen/generator.yaml"]
