// Package grpcapi is the way in over gRPC: quaygen's own API (proto/quaygen/v1) and the External Secrets Operator's
// out-of-process protocol (proto/externalsecrets). It decodes a request, asks [quaygen.Service], and translates the answer;
// who may have what is decided there, for all ways in alike.
package grpcapi
