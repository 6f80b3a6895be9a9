package cluster

import (
	"context"
	"fmt"
	"net"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
)

// etcdSocket is where etcd's main puts its socket, below the cluster's directory.
const etcdSocket = "client.sock"

func (c *Cluster) startEtcd(ctx context.Context, bin string) error {
	etcd, err := c.start(bin, "etcd", []string{"-dir", c.dir}, nil)
	if err != nil {
		return err
	}
	// Listening is enough: the API server's own readiness covers the rest.
	return etcd.Ready(ctx, func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", c.path(etcdSocket))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (c *Cluster) startAPIServer(ctx context.Context, bin string, port int) error {
	server, err := c.start(bin, "kube-apiserver", []string{
		"--etcd-servers=unix://" + c.path(etcdSocket),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + c.path("apiserver.crt"),
		"--tls-private-key-file=" + c.path("apiserver.key"),
		"--client-ca-file=" + c.path("ca.crt"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("accounts.crt"),
		"--service-account-signing-key-file=" + c.path("accounts.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		// Nobody reaches the API through a Service here, and a loopback
		// address is not allowed in Endpoints.
		"--endpoint-reconciler-type=none",
	}, nil)
	if err != nil {
		return err
	}
	if err := c.connect(fmt.Sprintf("https://127.0.0.1:%d", port)); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making the readiness client: %w", err)
	}
	return server.Ready(ctx, func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (c *Cluster) startControllers(ctx context.Context, bin string) error {
	kubeconfig := c.path("controllers.kubeconfig")
	if err := WriteKubeconfig(kubeconfig, c.User("system:kube-controller-manager")); err != nil {
		return err
	}
	controllers, err := c.start(bin, "kube-controller-manager", []string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=serviceaccount-controller,serviceaccount-token-controller," +
			"root-ca-certificate-publisher-controller,namespace-controller,garbage-collector-controller",
		// Each controller as its own ServiceAccount, under the roles that
		// Kubernetes ships for it, as in a cluster.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.path("accounts.key"),
		"--root-ca-file=" + c.path("ca.crt"),
		"--leader-elect=false",
		"--secure-port=0", // nobody asks it anything
	}, []string{"HOME=" + c.dir})
	if err != nil {
		return err
	}
	// It has no port to ask; the first ServiceAccount is the sign that it works.
	accounts, err := c.Resource("v1", "ServiceAccount", "default")
	if err != nil {
		return err
	}
	return controllers.Ready(ctx, func(ctx context.Context) error {
		_, err := accounts.Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}
