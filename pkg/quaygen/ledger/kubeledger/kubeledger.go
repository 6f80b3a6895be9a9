// Package kubeledger keeps the ledger in Kubernetes, for several replicas: one Lease for each robot, in one namespace.
//
// The record is JSON in an annotation, and the Lease's resourceVersion is its version. While a rotation is open the
// Lease's own fields name its holder, its time and its duration; nothing reads them but people. It takes the verbs get,
// create and patch on leases in coordination.k8s.io, within the namespace.
package kubeledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// What a Lease of the ledger bears. The annotation holds the record, and makes the Lease ours; the labels are for people.
const (
	Annotation     = "quaygen.dev/ledger"
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "quaygen"
	InstanceLabel  = "quaygen.dev/instance"
)

// Config says where the Leases are.
type Config struct {
	API       *rest.Config // the API server, and who we are there
	Namespace string
	Instance  string // goes into a label, for people
}

// Store is a [ledger.Store] that all replicas share.
type Store struct {
	client    *rest.RESTClient
	namespace string
	instance  string
}

// Open returns the ledger in a namespace. It does not talk to the API server yet.
func Open(c Config) (*Store, error) {
	if problems := validation.IsDNS1123Label(c.Namespace); len(problems) > 0 {
		return nil, fmt.Errorf("opening the ledger: namespace %q: %s", c.Namespace, problems[0])
	}
	if problems := validation.IsValidLabelValue(c.Instance); len(problems) > 0 {
		return nil, fmt.Errorf("opening the ledger: instance %q cannot be a label: %s", c.Instance, problems[0])
	}
	// A client of this one kind, which links no other.
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // errors are of this kind
	api := rest.CopyConfig(c.API)
	api.APIPath = "/apis"
	api.GroupVersion = &coordinationv1.SchemeGroupVersion
	api.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	api.ContentType, api.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := rest.RESTClientFor(api)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return &Store{client: client, namespace: c.Namespace, instance: c.Instance}, nil
}

// Load implements [ledger.Store]. The API server answers with the newest state, never from a cache.
func (s *Store) Load(ctx context.Context, robot quay.Robot) (ledger.Record, ledger.Version, error) {
	var lease coordinationv1.Lease
	err := s.client.Get().Namespace(s.namespace).Resource("leases").Name(leaseName(robot)).Do(ctx).Into(&lease)
	if apierrors.IsNotFound(err) {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return ledger.Record{}, "", s.failed("loading", robot, err)
	}
	text, ours := lease.Annotations[Annotation]
	if !ours {
		return ledger.Record{}, "", s.failed("loading", robot, fmt.Errorf("the Lease has no annotation %s and is somebody else's: delete it, or give the ledger another namespace", Annotation))
	}
	r, err := decode([]byte(text))
	if err == nil && r.Robot != robot {
		err = fmt.Errorf("it holds the record of %s", r.Robot)
	}
	if err != nil {
		return ledger.Record{}, "", s.failed("loading", robot, fmt.Errorf("annotation %s: %w; if the Lease is deleted the ledger starts anew: this costs a delay, never a rotation", Annotation, err))
	}
	return r, ledger.Version(lease.ResourceVersion), nil
}

// Create implements [ledger.Store].
func (s *Store) Create(ctx context.Context, r ledger.Record) (ledger.Version, error) {
	body, err := leaseBody(r, map[string]any{
		"name":   leaseName(r.Robot),
		"labels": map[string]string{ManagedByLabel: ManagedBy, InstanceLabel: s.instance},
	})
	if err != nil {
		return "", err
	}
	version, err := s.write(ctx, s.client.Post().SetHeader("Content-Type", runtime.ContentTypeJSON), body)
	if apierrors.IsAlreadyExists(err) {
		// A Lease that is somebody else's, or cannot be read, is in the way instead: no Load will ever succeed.
		if _, _, err := s.Load(ctx, r.Robot); err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return "", err
		}
		err = ledger.ErrExists
	}
	if err != nil {
		return "", s.failed("writing", r.Robot, err)
	}
	return version, nil
}

// Replace implements [ledger.Store]. A patch, unlike an update, never makes a Lease that is gone, and leaves alone what
// others have added to it.
func (s *Store) Replace(ctx context.Context, r ledger.Record, old ledger.Version) (ledger.Version, error) {
	body, err := leaseBody(r, map[string]any{"resourceVersion": string(old)})
	if err != nil {
		return "", err
	}
	// A patch without a version would be a write without a condition.
	if n, err := strconv.ParseUint(string(old), 10, 64); err != nil || n == 0 {
		return "", s.failed("writing", r.Robot, ledger.ErrConflict)
	}
	version, err := s.write(ctx, s.client.Patch(types.MergePatchType).Name(leaseName(r.Robot)), body)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		err = ledger.ErrConflict
	}
	if err != nil {
		return "", s.failed("writing", r.Robot, err)
	}
	return version, nil
}

// Close implements [ledger.Store].
func (s *Store) Close() error { return nil }

// write sends a request once: repeated after a lost answer, it would find its own write in the way.
func (s *Store) write(ctx context.Context, request *rest.Request, body []byte) (ledger.Version, error) {
	var lease coordinationv1.Lease
	err := request.Namespace(s.namespace).Resource("leases").Param("fieldManager", ManagedBy).
		MaxRetries(0).Body(body).Do(ctx).Into(&lease)
	if err != nil {
		return "", err
	}
	return ledger.Version(lease.ResourceVersion), nil
}

func (s *Store) failed(doing string, robot quay.Robot, err error) error {
	return fmt.Errorf("%s the record of %s in the Lease %s/%s: %w", doing, robot, s.namespace, leaseName(robot), err)
}

// leaseBody returns the Lease of r, or a merge patch that makes it so: there, null removes a field.
func leaseBody(r ledger.Record, metadata map[string]any) ([]byte, error) {
	text, err := encode(r)
	if err != nil {
		return nil, err
	}
	metadata["annotations"] = map[string]string{Annotation: string(text)}
	spec := map[string]any{"holderIdentity": nil, "acquireTime": nil, "leaseDurationSeconds": nil}
	if i := r.Intent; !i.IsZero() {
		if i.Holder != "" {
			spec["holderIdentity"] = i.Holder
		}
		spec["acquireTime"] = metav1.NewMicroTime(i.At)
		// Kubernetes wants whole seconds, at least one.
		spec["leaseDurationSeconds"] = min(max(1, int64(math.Ceil(i.Lease.Seconds()))), math.MaxInt32)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": coordinationv1.SchemeGroupVersion.String(), "kind": "Lease", "metadata": metadata, "spec": spec,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the Lease of %s: %w", r.Robot, err)
	}
	return body, nil
}

// content is what the annotation holds. Without Write, Kubernetes would take the same record written again for no change,
// keep the version, and let two writers believe that theirs was the one that took place.
type content struct {
	Format int             `json:"format"`
	Write  string          `json:"write"` // random
	Record json.RawMessage `json:"record"`
}

// format is the version of content. What a newer one means is unknown: it is refused.
const format = 1

func encode(r ledger.Record) ([]byte, error) {
	record, err := ledger.Encode(r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(content{Format: format, Write: rand.Text(), Record: record})
}

func decode(text []byte) (ledger.Record, error) {
	var c content
	if err := json.Unmarshal(text, &c); err != nil {
		return ledger.Record{}, err
	}
	if c.Format != format {
		return ledger.Record{}, fmt.Errorf("it has format %d, and this version of quaygen knows %d", c.Format, format)
	}
	return ledger.Decode(c.Record)
}

// maxReadable leaves room for a prefix and a hash in the 63 characters that every tool shows.
const maxReadable = 34

// leaseName returns the robot's name as far as a Lease can bear it, and a hash that tells apart what it cannot.
func leaseName(robot quay.Robot) string {
	readable := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return '-'
	}, robot.Username())
	readable = readable[:min(len(readable), maxReadable)]
	sum := sha256.Sum256([]byte(ledger.Key(robot)))
	return "quaygen-" + strings.TrimRight(readable, "-") + "-" + hex.EncodeToString(sum[:10])
}
