package product

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// A Shape is how Kubernetes starts, probes, replaces and ends the pods of a
// Deployment.
type Shape struct {
	Replicas           int
	Surge, Unavailable int           // more, and fewer, than Replicas while they are replaced
	Startup, Readiness time.Duration // from one probe to the next
	PreStop            time.Duration // from the order to end to SIGTERM
	Grace              time.Duration // from the order to end to SIGKILL
}

// ReadShape reads a Deployment's manifest. What it does not say is as Kubernetes
// has it by default.
func ReadShape(manifest []byte, replicas int) (Shape, error) {
	var d appsv1.Deployment
	if err := yaml.Unmarshal(manifest, &d); err != nil {
		return Shape{}, fmt.Errorf("reading a Deployment: %w", err)
	}
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || pod.TerminationGracePeriodSeconds == nil {
		return Shape{}, errors.New("the Deployment has more than one container, or no grace period")
	}
	c := pod.Containers[0]
	if c.StartupProbe == nil || c.ReadinessProbe == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil {
		return Shape{}, errors.New("the Deployment has no probe for the start or readiness, or does not sleep before it stops")
	}
	seconds := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	s := Shape{
		Replicas: replicas,
		Startup:  seconds(int64(c.StartupProbe.PeriodSeconds)), Readiness: seconds(int64(c.ReadinessProbe.PeriodSeconds)),
		PreStop: seconds(c.Lifecycle.PreStop.Sleep.Seconds), Grace: seconds(*pod.TerminationGracePeriodSeconds),
	}
	quarter := intstr.FromString("25%")
	surge, unavailable := &quarter, &quarter
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil {
		surge, unavailable = rolling.MaxSurge, rolling.MaxUnavailable
	}
	var err error
	if s.Surge, err = intstr.GetScaledValueFromIntOrPercent(surge, replicas, true); err != nil {
		return Shape{}, fmt.Errorf("maxSurge: %w", err)
	}
	if s.Unavailable, err = intstr.GetScaledValueFromIntOrPercent(unavailable, replicas, false); err != nil {
		return Shape{}, fmt.Errorf("maxUnavailable: %w", err)
	}
	return s, nil
}

// Propagation is how much later than a pod becomes ready, or is told to end, new
// connections know of it. In a cluster at rest it is well below a second.
const Propagation = 2 * time.Second

// readinessFailures is Kubernetes' default: so many probes in a row fail before a
// pod leaves its Service.
const readinessFailures = 3

// A Deployment keeps replicas behind two Services, as the controller, the kubelet
// and kube-proxy do together. Close ends it, but not its replicas.
type Deployment struct {
	Shape
	start      func() *Generator
	http, grpc *Service
	ctx        context.Context
	cancel     context.CancelFunc
	running    sync.WaitGroup

	mu       sync.Mutex // guards what follows, and each pod's state
	pods     []*pod     // not told to end, oldest first
	changes  int        // of what the Services shall do
	routed   int        // the last change that they follow
	problems []error
}

type pod struct {
	*Generator
	fresh bool // started by the last Roll
	ready bool
	going context.Context // ends when it is told to end
	end   context.CancelFunc
}

// Deploy starts a Deployment's pods, with start, and returns when all are ready and
// the Services know it.
func Deploy(ctx context.Context, shape Shape, http, grpc *Service, start func() *Generator) (*Deployment, error) {
	d := &Deployment{Shape: shape, start: start, http: http, grpc: grpc}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	err := d.Roll(ctx)
	if err == nil {
		err = d.pause(ctx, Propagation)
	}
	if err != nil {
		d.cancel()
		d.running.Wait()
		return nil, err
	}
	return d, nil
}

// Close waits for the pods that were told to end, and reports what went wrong with
// them. The others live on.
func (d *Deployment) Close() error {
	d.mu.Lock()
	for _, p := range d.pods {
		p.end()
	}
	d.mu.Unlock()
	d.running.Wait()
	d.cancel()
	return errors.Join(d.problems...)
}

// Roll replaces every pod by one that is started now, as a rolling update does.
func (d *Deployment) Roll(ctx context.Context) error {
	d.mu.Lock()
	for _, p := range d.pods {
		p.fresh = false
	}
	d.mu.Unlock()
	for {
		switch next, victim := d.next(); next {
		case grow:
			d.add()
		case shrink:
			d.remove(victim) //nolint:contextcheck // a pod has its grace period, whatever becomes of the rollout
		case done:
			return nil
		case wait:
			if err := d.pause(ctx, pollInterval); err != nil {
				return fmt.Errorf("rolling out: %w", err)
			}
		}
	}
}

// pollInterval is how often Roll looks at its pods; the controller is told at once.
const pollInterval = 20 * time.Millisecond

type move int

const (
	wait move = iota
	grow
	shrink
	done
)

// next decides as the controller does. Pods that were told to end do not count.
func (d *Deployment) next() (move, *pod) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh, ready := 0, 0
	var old *pod
	for _, p := range d.pods {
		switch {
		case p.fresh:
			fresh++
		case old == nil:
			old = p
		}
		if p.ready {
			ready++
		}
	}
	// A first start has no pods to replace, and needs no surge.
	switch {
	case fresh < d.Replicas && len(d.pods) < d.Replicas+d.Surge:
		return grow, nil
	case old != nil && (!old.ready || ready > d.Replicas-d.Unavailable):
		return shrink, old
	case old == nil && ready == d.Replicas:
		return done, nil
	}
	return wait, nil
}

func (d *Deployment) add() {
	p := &pod{Generator: d.start(), fresh: true}
	p.going, p.end = context.WithCancel(d.ctx)
	d.mu.Lock()
	d.pods = append(d.pods, p)
	d.mu.Unlock()
	d.running.Go(func() { d.probe(p) })
}

// remove tells a pod to end, and its Services.
func (d *Deployment) remove(p *pod) {
	p.end()
	d.mu.Lock()
	var others []*pod
	for _, other := range d.pods {
		if other != p {
			others = append(others, other)
		}
	}
	d.pods = others
	d.mu.Unlock()
	d.route()
	d.running.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, d.Grace)
		defer cancel()
		err := d.pause(ctx, d.PreStop)
		if err == nil {
			err = p.Stop(ctx)
		}
		if err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.problems = append(d.problems, err)
		}
	})
}

// probe asks a pod as the kubelet does, until it is told to end.
func (d *Deployment) probe(p *pod) {
	for !d.passes(p, "/livez") {
		if d.pause(p.going, d.Startup) != nil {
			return
		}
	}
	for failures := 0; ; {
		if d.passes(p, "/readyz") {
			failures = 0
			d.setReady(p, true)
		} else if failures++; failures >= readinessFailures {
			d.setReady(p, false)
		}
		if d.pause(p.going, d.Readiness) != nil {
			return
		}
	}
}

func (d *Deployment) passes(p *pod, path string) bool {
	status, _, err := p.Ask(p.going, path)
	return err == nil && status == http.StatusOK
}

func (d *Deployment) setReady(p *pod, ready bool) {
	d.mu.Lock()
	changed := p.ready != ready
	p.ready = ready
	d.mu.Unlock()
	if changed {
		d.route()
	}
}

// route makes the Services, after a while, use the pods that are ready now.
func (d *Deployment) route() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	change := d.changes
	var callers, grpcCallers []string
	for _, p := range d.pods {
		if p.ready {
			callers, grpcCallers = append(callers, p.Address), append(grpcCallers, p.GRPC)
		}
	}
	d.running.Go(func() {
		if d.pause(d.ctx, Propagation) != nil {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if change > d.routed {
			d.routed = change
			d.http.Lead(callers...)
			d.grpc.Lead(grpcCallers...)
		}
	})
}

func (d *Deployment) pause(ctx context.Context, how time.Duration) error {
	timer := time.NewTimer(how)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
