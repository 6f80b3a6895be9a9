// Package alerts tests the rules of manifests/helm/quaygen/files/alerts.yaml and the dashboard beside it with Prometheus' own
// code: against series that are written down, against the metrics that a running generator really shows while Quay has a
// fault, and against what else is said about them.
package alerts
