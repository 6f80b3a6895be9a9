package main

import "github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"

const (
	organization = "myorg"
	owner        = "dev"
	imageTag     = "v1.2.3"
)

var repositories = []string{"my-app", "backend-api", "worker-service"}

// scopes are what the service needs; docs/quay-contract.md 1.2.
var scopes = []string{"org:admin", "repo:admin", "user:admin"}

// seed fills an empty Quay.
func seed(quay *quaytest.Server) started {
	quay.AddUser(owner)
	quay.AddOrganization(organization, owner)
	s := started{Organization: organization}
	for _, repository := range repositories {
		quay.AddRepository(organization, repository)
		quay.PushImage(organization, repository, imageTag)
		s.images = append(s.images, organization+"/"+repository+":"+imageTag)
	}
	s.Token = quay.AddToken(owner, scopes...)
	return s
}
