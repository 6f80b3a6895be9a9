// Package e2e holds the cluster stories: what a user of quaygen relies on, told
// against a real Kubernetes API server and the released External Secrets
// Operator. README.md says how they are run.
package e2e
