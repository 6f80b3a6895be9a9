package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaygen/quaygen/cmd/internal/await"
)

// The kinds of trouble.
const (
	kindError    = "error"
	kindDelay    = "delay"
	kindHang     = "hang"
	kindCut      = "cut answer"
	kindLost     = "lost answer"
	kindLimit    = "rate limit"
	kindStale    = "stale list"
	kindReadOnly = "read-only"
)

var kinds = []string{kindError, kindDelay, kindHang, kindCut, kindLost, kindLimit, kindStale, kindReadOnly}

// fault is what quaydev is asked for.
type fault struct {
	Operation  string            `json:"operation,omitempty"`
	Host       string            `json:"host"`
	Status     int               `json:"status,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	Delay      string            `json:"delay,omitempty"`
	Late       bool              `json:"late,omitempty"`
	Hang       bool              `json:"hang,omitempty"`
	LostAnswer bool              `json:"lost_answer,omitempty"`
	CutBody    bool              `json:"cut_body,omitempty"`
	StaleBy    string            `json:"stale_by,omitempty"`
	Times      int               `json:"times"`
}

// event is one fault of a schedule.
type event struct {
	after time.Duration // the one before
	kind  string
	fault fault
}

// faultSchedule draws faults for one replica's calls, one after the other; the same seed draws the same ones.
type faultSchedule struct {
	draw       *rand.Rand
	host       string
	operations []string // that faults are for; empty stands for the next call, whatever it is
	timing
}

// newFaultSchedule returns a schedule in which what a rotation consists of meets most faults.
func newFaultSchedule(s scenario, stream uint64, host string) *faultSchedule {
	return &faultSchedule{
		draw: rand.New(rand.NewPCG(s.seed, stream)), //nolint:gosec // a schedule, not a secret
		host: host, operations: slices.Concat([]string{"", "", "config"}, s.way.steps(), s.way.steps()), timing: s.timing,
	}
}

func (s *faultSchedule) next() event {
	// Read-only phases are Quay's, not one replica's.
	e := event{after: time.Duration(100+s.draw.IntN(500)) * time.Millisecond, kind: kinds[s.draw.IntN(len(kinds)-1)]}
	f := fault{Operation: s.operations[s.draw.IntN(len(s.operations))], Host: s.host, Times: 1}
	variant := s.draw.IntN(4)
	switch e.kind {
	case kindError:
		f.Status = []int{500, 500, 502, 504}[variant]
	case kindDelay:
		f.Delay, f.Late = (s.deadline / 8 * time.Duration(1+s.draw.IntN(10))).String(), variant == 0
	case kindHang:
		f.Hang = true
	case kindCut:
		f.CutBody = true
	case kindLost:
		f.LostAnswer = true
	case kindStale:
		// A list may be behind by what settle leaves beyond stepDeadline (I7), less what Quay's whole seconds take.
		f.Operation, f.StaleBy = "robot.list", ((s.settle - s.deadline) / 2).String()
	case kindLimit:
		f.Status = http.StatusTooManyRequests
		if variant == 0 {
			f.Header = map[string]string{"Retry-After": "1"}
		}
	}
	e.fault = f
	return e
}

// hitCount counts faults that happened, by kind.
type hitCount struct {
	mu   sync.Mutex
	hits map[string]int
}

func (h *hitCount) add(kind string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hits[kind] += n
}

func (h *hitCount) of(kind string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits[kind]
}

// inject arms faults, waits until one has happened or patience is over, and takes them all away again. It returns which
// one happened first, -1 for none; then is called before the others are taken away.
func (q *embeddedQuay) inject(ctx context.Context, patience time.Duration, then func(hit int), faults ...fault) (hit int, err error) {
	waiting, first := context.WithCancel(ctx)
	defer first()
	hits := make(chan int, len(faults))
	var group errgroup.Group
	var paths []string
	for i, f := range faults {
		var armed struct{ ID int }
		if err = q.do(ctx, http.MethodPost, "/quaydev/faults", f, &armed); err != nil {
			break
		}
		path := fmt.Sprintf("/quaydev/faults/%d", armed.ID)
		paths = append(paths, path)
		group.Go(func() error {
			var seen struct{ Hits int }
			err := q.do(waiting, http.MethodGet, path+"?wait="+patience.String(), nil, &seen)
			if err == nil && seen.Hits > 0 {
				hits <- i
				first()
			}
			if waiting.Err() != nil {
				return nil // it need not wait any longer
			}
			return err
		})
	}
	err = errors.Join(err, group.Wait())
	hit = -1
	select {
	case hit = <-hits:
		if then != nil {
			then(hit)
		}
	default:
	}
	for _, path := range paths {
		err = errors.Join(err, q.do(context.WithoutCancel(ctx), http.MethodDelete, path, nil, nil))
	}
	return hit, err
}

// troubling lets faults happen to one replica's calls until ctx ends.
func (w *world) troubling(ctx context.Context, s *faultSchedule, hits *hitCount) error {
	for ctx.Err() == nil {
		e := s.next()
		if await.Time(ctx, e.after) != nil {
			break
		}
		hit, err := w.quay.inject(ctx, 3*time.Second, nil, e.fault)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			return err
		case hit >= 0:
			hits.add(e.kind, 1)
		}
	}
	return nil
}

// readOnlyPhases makes Quay read-only now and then, until ctx ends.
func (w *world) readOnlyPhases(ctx context.Context, draw *rand.Rand) error {
	set := func(ctx context.Context, on bool) error {
		return w.quay.do(ctx, http.MethodPost, "/quaydev/switches", map[string]bool{"read_only": on}, nil)
	}
	for ctx.Err() == nil {
		calm, phase := time.Duration(6+draw.IntN(10))*w.sync*2, w.deadline/2+time.Duration(draw.Int64N(int64(w.deadline)))
		if await.Time(ctx, calm) != nil {
			break
		}
		if err := set(ctx, true); err != nil && ctx.Err() == nil {
			return err
		}
		_ = await.Time(ctx, phase)
		if err := set(context.WithoutCancel(ctx), false); err != nil {
			return err
		}
	}
	return nil
}

// answered counts the calls that Quay answered with a status, by operation, lost answers included.
func (q *embeddedQuay) answered(ctx context.Context, status int) (map[string]int, error) {
	counts := map[string]int{}
	err := q.do(ctx, http.MethodGet, fmt.Sprintf("/quaydev/calls?status=%d", status), nil, &counts)
	return counts, err
}

// refusedReadOnly counts the writes that Quay refused because it was read-only: no other fault answers 503.
func (w *world) refusedReadOnly(ctx context.Context) (int, error) {
	counts, err := w.quay.answered(ctx, http.StatusServiceUnavailable)
	n := 0
	for _, count := range counts {
		n += count
	}
	return n, err
}
