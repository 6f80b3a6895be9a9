package cluster

import (
	"crypto/x509"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// User returns the configuration of a user who may do what RBAC grants the name
// and the groups, by client certificate.
func (c *Cluster) User(name string, groups ...string) *rest.Config {
	return c.user(c.Config.Host, name, groups...)
}

func (c *Cluster) user(url, name string, groups ...string) *rest.Config {
	// To the API server the common name is the user, and the organizations are the groups.
	own := c.ca.Issue(name, certificatetest.ForClients, func(c *x509.Certificate) { c.Subject.Organization = groups })
	return &rest.Config{
		Host: url,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.ca.CertPEM(),
			CertData: own.CertPEM(),
			KeyData:  own.KeyPEM(),
		},
		// client-go's default of 5 calls a second would only slow the stories.
		QPS:   500,
		Burst: 1000,
	}
}

// WriteKubeconfig writes config to path, for programs that want a file. Of the
// credentials it knows certificates and bearer tokens.
func WriteKubeconfig(path string, config *rest.Config) error {
	const name = "e2e"
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   config.Host,
			CertificateAuthorityData: config.CAData,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
			Token:                 config.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
	if err != nil {
		return fmt.Errorf("writing kubeconfig %s: %w", path, err)
	}
	return nil
}
