package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/quaygen/quaygen/e2e/parts"
)

// DryRun has the API server take o without keeping it: defaults, validation and admission are those of the real thing, and
// a field that the kind does not have is an error. An object that exists is applied over.
func (c *Cluster) DryRun(ctx context.Context, o map[string]any) error {
	u := &unstructured.Unstructured{Object: o}
	resource, err := c.Resource(u.GetAPIVersion(), u.GetKind(), u.GetNamespace())
	if err != nil {
		return fmt.Errorf("trying %s: %w", object(u), err)
	}
	_, err = resource.Create(ctx, u, metav1.CreateOptions{
		DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict, FieldManager: fieldManager,
	})
	if apierrors.IsAlreadyExists(err) {
		var content []byte
		if content, err = json.Marshal(o); err == nil {
			force := true
			_, err = resource.Patch(ctx, u.GetName(), types.ApplyPatchType, content, metav1.PatchOptions{
				DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict, FieldManager: fieldManager, Force: &force,
			})
		}
	}
	if err != nil {
		return fmt.Errorf("trying %s: %w", object(u), err)
	}
	return nil
}

// InstallCRDs installs the definitions of all kinds that are shipped: ESO's, the Prometheus operator's and cert-manager's.
// Nothing acts on such objects unless their operators run.
func (c *Cluster) InstallCRDs(ctx context.Context) error {
	all, err := parts.ForeignCRDs(ctx)
	if err != nil {
		return err
	}
	own, err := parts.CRDs(ctx)
	if err != nil {
		return err
	}
	for _, manifest := range append(all, own) {
		if err := c.Apply(ctx, "", manifest); err != nil {
			return fmt.Errorf("installing CRDs: %w", err)
		}
	}
	return nil
}
