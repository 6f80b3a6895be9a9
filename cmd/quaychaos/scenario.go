package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaygen/quaygen/cmd/internal/await"
)

// result is what one scenario came to.
type result struct {
	scenario
	findings
	journal    *journal
	took       time.Duration
	hitsOf     map[string]int
	killed     int // all kills
	rarest     int // of the case that happened least
	failed     int // pulls refused, whatever the reason
	uncovered  int // of these, with a credential whose consumer had got no answer for maxRefresh
	heldBeyond int
	unused     int             // generations that were made and given up, or made twice at once
	publish    []time.Duration // from due to handed out
	retire     []time.Duration // from the end of the overlap to the deletion
	missed     []string        // what was wanted and not reached
}

// violations lists what must not be, with some traces of each.
func (r *result) violations() []string {
	var all []string
	found := r.each() // nothing of the script, whose failures are what the comparison is about
	for _, what := range slices.Sorted(maps.Keys(found)) {
		if traces := found[what]; len(traces) > 0 {
			all = append(all, fmt.Sprintf("%d %s, such as: %q", len(traces), what, traces[:min(5, len(traces))]))
		}
	}
	if n := len(r.journal.unreached); n > 0 {
		all = append(all, fmt.Sprintf("%d pulls never reached the registry: %v", n, r.journal.unreached[0]))
	}
	return append(all, r.missed...)
}

func (s scenario) run(ctx context.Context, bin string, out io.Writer) (*result, error) {
	started := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%6.1fs  %s: %s\n", time.Since(started).Seconds(), s.name, fmt.Sprintf(format, args...))
	}
	w, err := newWorld(ctx, s, bin)
	if err != nil {
		return nil, err
	}
	defer w.close()
	say("%d robots, %d consumers of each, seed %d", s.robots, s.namespaces, s.seed)

	load, working := newStage(ctx)
	consumers := w.consumers()
	if err := w.settleIn(working, load, consumers); err != nil {
		return nil, errors.Join(err, load.stop())
	}
	say("every consumer has a credential; pulls begin")

	r := &result{scenario: s, journal: w.journal, hitsOf: map[string]int{}}
	begun := time.Now()
	if err := w.endure(working, r, consumers, load, say); err != nil {
		return nil, errors.Join(err, load.stop())
	}
	r.took = time.Since(begun)
	if err := load.stop(); err != nil {
		return nil, err
	}
	w.journal.end(time.Now())
	return r, w.judge(ctx, r)
}

// stage is goroutines that end together.
type stage struct {
	*errgroup.Group
	cancel context.CancelFunc
}

// newStage returns a stage, and the context for its goroutines: it ends when the stage is stopped, or one of them fails.
func newStage(ctx context.Context) (*stage, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	return &stage{group, cancel}, ctx
}

func (s *stage) stop() error {
	s.cancel()
	return s.Wait()
}

// settleIn starts consumers and waits until each has a credential.
func (w *world) settleIn(ctx context.Context, load *stage, consumers []*consumer) error {
	if w.way == wayScript {
		for i := range w.robots {
			own := consumers[i*w.namespaces : (i+1)*w.namespaces]
			load.Go(func() error { return w.scripted(ctx, i, own) })
		}
	} else {
		if err := w.ready(ctx); err != nil {
			return err
		}
		client, err := freshConnections(w.ca)
		if err != nil {
			return err
		}
		for i, c := range consumers {
			draw := w.stream(1000 + i)
			load.Go(func() error {
				w.refreshing(ctx, c, client, draw)
				return nil
			})
		}
		for i := range w.robots {
			if !w.told {
				break
			}
			own := consumers[i*w.namespaces : (i+1)*w.namespaces]
			load.Go(func() error {
				w.telling(ctx, own, client)
				return nil
			})
		}
	}
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return await.True(waiting, 50*time.Millisecond, func() bool {
		for _, c := range consumers {
			if c.current.Load() == nil {
				return false
			}
		}
		return true
	})
}

// stream is one of the independent sequences of random numbers that the seed stands for.
func (w *world) stream(n int) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, uint64(n))) //nolint:gosec // a schedule, not a secret
}

// lanes is how many faults at once lie in wait for one replica.
const lanes = 3

// endure pulls, with trouble where the scenario has it, until all that is wanted has happened, and for as long afterwards as
// generations need to end in peace.
func (w *world) endure(ctx context.Context, r *result, consumers []*consumer, load *stage, say func(string, ...any)) error {
	interval := time.Duration(float64(len(consumers)) / w.pace * float64(time.Second))
	for i, c := range consumers {
		n, err := newNode(w.quay)
		if err != nil {
			return err
		}
		draw := w.stream(2000 + i)
		load.Go(func() error {
			w.pulling(ctx, c, n, interval, draw)
			return nil
		})
	}
	load.Go(func() error { return w.scraping(ctx) })

	hits, kills := &hitCount{hits: map[string]int{}}, &killCount{kills: map[killCase]int{}}
	trouble, troubled := newStage(ctx)
	if w.trouble {
		for i, rep := range w.replicas {
			for n := range lanes {
				schedule := newFaultSchedule(w.scenario, uint64(i*lanes+n), rep.door)
				trouble.Go(func() error { return w.troubling(troubled, schedule, hits) })
			}
		}
		trouble.Go(func() error { return w.readOnlyPhases(troubled, w.stream(100)) })
		trouble.Go(func() error { return w.killing(troubled, w.stream(101), kills) })
	}
	missed, err := w.wanted(troubled, hits, kills, say)
	err = errors.Join(trouble.stop(), err)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		r.hitsOf[kind] = hits.of(kind)
	}
	r.rarest, r.killed = kills.count(w.scenario)
	r.missed = missed
	if w.way == wayScript || w.way == wayRegenerate && !w.trouble {
		return nil
	}
	if err := w.quay.do(ctx, http.MethodDelete, "/quaydev/faults", nil, nil); err != nil {
		return err
	}
	say("trouble is over; waiting for what is superseded to end")
	return await.Time(ctx, w.most+w.slack()+w.sync)
}

// wanted waits until the scenario has seen enough, and says what it has not when its time is over.
func (w *world) wanted(ctx context.Context, hits *hitCount, kills *killCount, say func(string, ...any)) (missed []string, err error) {
	begun, told := time.Now(), time.Now()
	for {
		if w.trouble {
			n, err := w.refusedReadOnly(ctx)
			if err != nil {
				return nil, err
			}
			hits.add(kindReadOnly, n-hits.of(kindReadOnly))
		}
		rotations, pulls, failures := w.journal.progress()
		fewest, killed := kills.count(w.scenario)
		missed = nil
		miss := func(what string, got, want int) {
			if got < want {
				missed = append(missed, fmt.Sprintf("%d %s, %d wanted", got, what, want))
			}
		}
		miss("rotations", rotations, w.rotations)
		miss("pulls", pulls, w.pulls)
		miss("kills of each replica in each call", fewest, w.rounds)
		faults := 0
		for _, kind := range kinds {
			faults += hits.of(kind)
			miss("faults of the kind "+kind, hits.of(kind), w.hits)
		}
		if time.Since(told) >= 15*time.Second {
			told = time.Now()
			say("%d rotations, %d pulls, %d refused, %d faults, %d kills; to come: %s", rotations, pulls, failures, faults, killed, cmp.Or(strings.Join(missed, "; "), "nothing"))
		}
		running := time.Since(begun)
		if running >= w.least && len(missed) == 0 || running >= w.limit {
			return missed, nil
		}
		if err := await.Time(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// scrapes is what the replicas' metrics showed.
type scrapes struct {
	mu    sync.Mutex
	texts []string
}

func (s *scrapes) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, text)
}

func (s *scrapes) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.texts)
}

// scraping reads all that the replicas show on their admin port, now and then until ctx ends.
func (w *world) scraping(ctx context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second}
	for await.Time(ctx, 2*time.Second) == nil {
		for _, r := range w.replicas {
			_, admin := r.where()
			for _, path := range []string{"/metrics", "/statusz", "/readyz?verbose"} {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+path, nil)
				if err != nil {
					return err
				}
				if text, err := read(client, request); err == nil { // a dead replica shows nothing
					w.scrapes.add(string(text))
				}
			}
		}
	}
	return nil
}

// judge checks the world after the fact.
func (w *world) judge(ctx context.Context, r *result) error {
	if w.way == wayRegenerate {
		w.stopReplicas() // so that no token changes between two looks
	}
	robots, err := w.quay.everyRobot(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	w.stopReplicas()
	for _, f := range w.journal.failures {
		r.failed++
		if !f.covered {
			r.uncovered++
		}
	}
	if w.way == wayScript {
		return nil
	}
	texts := append(w.printed(), w.scrapes.all()...)
	if len(w.scrapes.all()) == 0 {
		return errors.New("no metrics were read, so that nothing can be said about them")
	}
	if w.way == wayRegenerate {
		texts = append(texts, w.ledgers()...)
	}
	e := &evidence{timing: w.timing, journal: w.journal, robots: robots, foreign: w.foreign, texts: texts, secrets: []string{w.quay.token, w.bearer}, now: now}
	r.findings, r.heldBeyond = e.check(), e.beyond()
	if w.way == wayRegenerate { // that pulls fail is what it costs; there are no generations, and no robot ends
		r.failedPulls, r.heldDead = nil, nil
		counts, err := w.quay.answered(ctx, http.StatusOK)
		if err != nil {
			return err
		}
		r.doubles = e.regeneratedTwice(counts["robot.regenerate"])
	}
	deleted := map[string]time.Time{}
	for _, robot := range robots {
		deleted[robot.Name] = robot.Deleted
		if _, _, ok := numbered(robot); ok && !e.used(robot) {
			r.unused++
		}
	}
	for _, f := range w.foreign {
		if _, _, ok := numbered(f); ok {
			r.unused--
		}
	}
	for _, h := range w.journal.handed {
		if h.prev == "" {
			continue
		}
		r.publish = append(r.publish, h.at.Sub(h.due))
		if h.at.Before(h.due.Add(-time.Second)) {
			r.doubles = append(r.doubles, fmt.Sprintf("%s was rotated %v early", h.prev, h.due.Sub(h.at)))
		}
		if end := deleted[h.prev]; !end.IsZero() {
			r.retire = append(r.retire, end.Sub(h.at.Add(w.overlap)))
		}
	}
	return nil
}
