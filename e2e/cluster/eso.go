package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/quaygen/quaygen/e2e/parts"
	"github.com/quaygen/quaygen/e2e/process"
)

// StartESO builds ESO if it is missing, installs its custom resource
// definitions and starts it with args after the ones it needs here. It returns
// when ESO works on ExternalSecrets.
//
// End the returned process with Stop or Kill to see what happens without ESO,
// and call StartESO again for another one; two at a time would both act. Close
// ends whichever is left.
func (c *Cluster) StartESO(ctx context.Context, args ...string) (*process.Process, error) {
	bin, err := parts.ESO.Build(ctx)
	if err != nil {
		return nil, err
	}
	crds, err := parts.CRDs(ctx)
	if err != nil {
		return nil, err
	}
	if err := refuseConversionWebhooks(crds); err != nil {
		return nil, err
	}
	if err := c.Apply(ctx, "", crds); err != nil {
		return nil, fmt.Errorf("installing ESO's CRDs: %w", err)
	}

	// Unlimited rights: what ESO itself may do is its chart's business. Its own
	// user name keeps it apart from the stories in the API server's eyes.
	kubeconfig := c.path("eso.kubeconfig")
	if err := WriteKubeconfig(kubeconfig, c.User("external-secrets", "system:masters")); err != nil {
		return nil, err
	}
	fixed := []string{
		"--enable-leader-election=false",
		"--metrics-addr=0", "--live-addr=0", // no ports; readiness is in the log
		"--zap-time-encoding=rfc3339nano",
	}
	eso, err := c.start(bin, "eso", append(fixed, args...), []string{"KUBECONFIG=" + kubeconfig, "HOME=" + c.dir})
	if err != nil {
		return nil, fmt.Errorf("starting ESO: %w", err)
	}
	if err := eso.Ready(ctx, func(context.Context) error { return workersStarted(eso) }); err != nil {
		eso.Kill()
		return nil, fmt.Errorf("starting ESO: %w", err)
	}
	return eso, nil
}

// refuseConversionWebhooks guards an assumption: the released definitions, all
// of one stored version, convert nothing, so that they work without ESO's
// webhook and cert-controller processes. Admission webhooks are not part of the
// bundle. A later release that changes this has to be looked at, not patched.
func refuseConversionWebhooks(crds []byte) error {
	objects, err := decode(crds)
	if err != nil {
		return fmt.Errorf("reading ESO's CRDs: %w", err)
	}
	for _, o := range objects {
		strategy, _, err := unstructured.NestedString(o.Object, "spec", "conversion", "strategy")
		if err != nil || (strategy != "" && strategy != "None") {
			return fmt.Errorf("%s needs a conversion webhook, which does not run here", object(o))
		}
	}
	return nil
}

var errNotWorking = errors.New("no worker for ExternalSecrets yet")

// workersStarted looks for the line that controller-runtime logs after a
// controller's caches are filled. The health endpoint answers before that.
func workersStarted(eso *process.Process) error {
	log, err := eso.Log()
	if err != nil {
		return err
	}
	for text := range strings.Lines(log) {
		var line struct {
			Msg        string `json:"msg"`
			Controller string `json:"controller"`
		}
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "Starting workers" && line.Controller == "externalsecret" {
			return nil
		}
	}
	return errNotWorking
}
