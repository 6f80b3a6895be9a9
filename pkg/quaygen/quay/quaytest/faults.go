package quaytest

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault is a failure to happen to matching requests. Its fields combine: what comes before Quay's own work (Delay, Hang,
// Status), then what becomes of the answer (AnswerDelay, LostAnswer, CutBody). The call log and the rate limits see the
// request in any case.
type Fault struct {
	// Operation is one of those of [CallLog]; empty means all.
	Operation string
	// Match narrows further; nil means every request of the operation. It must not read the body.
	Match func(*http.Request) bool

	// Status answers in Quay's stead: nothing happens at Quay. Body, ContentType and Header go with it; without a Body
	// it is an HTML page, as nginx makes them. A Date in Header replaces the server's; a nil one leaves it out.
	Status      int
	Body        string
	ContentType string
	Header      http.Header

	// Delay comes before the effect. A request whose client leaves meanwhile has no effect, unless Late is set: then
	// the effect happens all the same once Delay is over, as with a worker that goes on without its client.
	Delay time.Duration
	Late  bool
	// AnswerDelay comes after the effect.
	AnswerDelay time.Duration
	// Hang answers never, and has no effect unless LostAnswer is set too; the request ends when its client leaves.
	Hang bool
	// LostAnswer breaks the connection after the effect has happened, instead of answering.
	LostAnswer bool
	// CutBody breaks the connection in the middle of the answer's body.
	CutBody bool
	// StaleBy makes lists (robots, grants, repositories, team members) show what was true that long ago, as a lagging
	// database replica would.
	StaleBy time.Duration

	// Times is how many requests it happens to; zero means until removed.
	Times int
	// Probability is the chance that it happens to a matching request; zero means always. Rand decides; nil means
	// a random seed.
	Probability float64
	Rand        *rand.Rand

	// Hit, if not nil, is told of each request that it happens to, before it happens. It must not wait.
	Hit func()
}

func (f *Fault) answer() *answer {
	a := page(f.Status)
	if f.Body != "" {
		a.body = []byte(f.Body)
	}
	if f.ContentType != "" {
		a.header.Set("Content-Type", f.ContentType)
	}
	for key, values := range f.Header {
		a.header[http.CanonicalHeaderKey(key)] = slices.Clone(values)
	}
	a.cut = f.CutBody
	return a
}

type faultList struct {
	mu    sync.Mutex
	armed []*armedFault
}

type armedFault struct {
	Fault
	left int // requests to go; meaningless if Times is zero
}

// Inject arms a fault, until the returned function is called (which may happen more than once). Of several that match a
// request, the one injected first happens.
func (s *Server) Inject(f Fault) (remove func()) {
	if f.Probability < 0 || f.Probability > 1 || f.Times < 0 {
		panic("quaytest: a fault with impossible numbers")
	}
	if f.Operation != "" && !slices.Contains(operations, f.Operation) {
		panic("quaytest: a fault of an operation that there is not: " + f.Operation) // it would never happen, and its test prove nothing
	}
	l := &s.faults
	armed := &armedFault{Fault: f, left: f.Times}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = append(l.armed, armed)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.armed = slices.DeleteFunc(l.armed, func(a *armedFault) bool { return a == armed })
	}
}

// pick returns a copy of the fault that happens to this request, if any.
func (l *faultList) pick(operation string, r *http.Request) *Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.armed {
		if a.Operation != "" && a.Operation != operation || a.Match != nil && !a.Match(r) {
			continue
		}
		if a.Probability > 0 && a.Probability < 1 && a.draw() >= a.Probability {
			continue
		}
		if a.Times > 0 {
			if a.left == 0 {
				continue
			}
			a.left--
		}
		f := a.Fault
		return &f
	}
	return nil
}

func (a *armedFault) draw() float64 {
	if a.Rand != nil {
		return a.Rand.Float64()
	}
	return rand.Float64() //nolint:gosec // failures need no secrecy
}
