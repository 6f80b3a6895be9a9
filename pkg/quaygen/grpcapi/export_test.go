package grpcapi

import "google.golang.org/grpc"

// Register adds a service of a test, which is called like any other.
func (s *Server) Register(service *grpc.ServiceDesc) { s.grpc.RegisterService(service, nil) }
