// Command kube-controller-manager gives the cluster stories ServiceAccounts,
// namespace deletion and garbage collection; the API server alone has none.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	os.Exit(cli.Run(app.NewControllerManagerCommand()))
}
