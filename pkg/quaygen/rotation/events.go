package rotation

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// EventType is what happened.
type EventType int

// The types of events. The zero value is none of them.
const (
	EventPublished  EventType = iota + 1 // a generation is served now
	EventSuperseded                      // a newer one is served; this one lives on for a while
	EventRetired                         // a generation is gone from Quay
	EventFailed                          // something cannot be done; it is tried again
	EventRecovered                       // what failed works again, or is not tried any more
	EventRemoved                         // the robot is not looked after any more
)

var eventNames = [...]string{EventPublished: "published", EventSuperseded: "superseded", EventRetired: "retired",
	EventFailed: "failed", EventRecovered: "recovered", EventRemoved: "removed"}

func (t EventType) String() string {
	if t <= 0 || int(t) >= len(eventNames) {
		return fmt.Sprintf("EventType(%d)", int(t))
	}
	return eventNames[t]
}

// Event is something that happened to a robot, or to an organization as a whole, as this process saw it. It holds no secret.
type Event struct {
	Type       EventType
	Name       string // the robot's configured name; "": it is about the whole organization
	Namespace  string // whose robot it is, with the scope PerNamespace
	Registry   string
	Owner      quay.Owner // the organization or user in Quay
	Generation int64      // -1: it is about none
	Robot      string     // that generation's user name in Quay
	Reason     string     // for people
	At         time.Time  // local time
}

// Entry is an event with the position behind it.
type Entry struct {
	Event
	Position string
}

// keptEvents is how many events a process keeps for those who were cut off: some hours of a large installation's, a megabyte.
const keptEvents = 4096

// takenAtOnce is how many events a watch takes out at a time: all who were cut off come back together, and each would hold
// up the robots' loops, and keep a copy while it sends.
const takenAtOnce = 256

// eventLog holds what is known of every robot together with the last events, so that a listing and the events after it
// fit together: an event is added under the same lock as the status that it tells of.
//
// Its mutex is taken last: nothing else is locked while it is held.
type eventLog struct {
	epoch string    // of this process: the positions of another one mean something else
	acted func(Act) // nil: nobody is told

	mu       sync.Mutex
	statuses map[*chain]*Status
	last     uint64  // number of the newest event; the first is 1
	kept     []Event // the newest ones, oldest first
	changed  chan struct{}
}

func newEventLog(acted func(Act)) *eventLog {
	return &eventLog{epoch: rand.Text(), acted: acted, statuses: map[*chain]*Status{}, changed: make(chan struct{})}
}

// begin adds a robot of which nothing is known yet.
func (l *eventLog) begin(c *chain, s *Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[c] = s
}

// publish makes a robot's status the one that is known, and adds what the difference to the one before says has happened.
// Of a robot that is not looked after any more nothing is told.
func (l *eventLog) publish(c *chain, s *Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.status.Store(s)
	before, ok := l.statuses[c]
	if !ok {
		return
	}
	l.statuses[c] = s
	l.addLocked(between(before, s)...)
}

// end forgets a robot.
func (l *eventLog) end(c *chain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.statuses[c]; ok {
		delete(l.statuses, c)
		l.addLocked(s.event(EventRemoved, -1, "it is not looked after any more"))
	}
}

func (l *eventLog) add(events ...Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(events...)
}

func (l *eventLog) addLocked(events ...Event) {
	if len(events) == 0 {
		return
	}
	for _, e := range events {
		e.At = time.Now()
		l.last++
		l.kept = append(l.kept, e)
		if l.acted != nil {
			l.acted(Act{Event: e})
		}
	}
	if len(l.kept) > 2*keptEvents {
		l.kept = append([]Event(nil), l.kept[len(l.kept)-keptEvents:]...)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// all returns the statuses of all robots as they are at this moment, ordered by name and namespace.
func (l *eventLog) all() []Status {
	statuses, _ := l.snapshot((*chain).now)
	return statuses
}

// snapshot returns the statuses of all robots, and the number of the newest event, which they are as of.
func (l *eventLog) snapshot(as func(*chain, Status) Status) ([]Status, uint64) {
	statuses, last := l.copied(as)
	slices.SortFunc(statuses, func(a, b Status) int { // not while the robots' loops wait
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	return statuses, last
}

func (l *eventLog) copied(as func(*chain, Status) Status) ([]Status, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Status, 0, len(l.statuses))
	for c, s := range l.statuses {
		out = append(out, as(c, *s))
	}
	return out, l.last
}

// now returns a status with what has come to its end since it was written. No event tells of that.
func (c *chain) now(s Status) Status {
	_, err := c.current(Ref{Name: s.Name, Namespace: s.Namespace})
	if notReady, ok := errors.AsType[*NotReadyError](err); ok {
		s.Current, s.Why, s.Refused = -1, notReady.Reason, notReady.Refused
	}
	return s
}

func (l *eventLog) of(c *chain) (Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.statuses[c]
	if !ok {
		return Status{}, false
	}
	return c.now(*s), true
}

// event says that something happened to the robot of s.
func (s *Status) event(t EventType, generation int64, reason string) Event {
	e := Event{Type: t, Name: s.Name, Namespace: s.Namespace, Registry: s.Registry, Owner: s.Spec.Base.Owner(), Generation: generation, Reason: reason}
	for _, g := range s.Plan.Generations {
		if g.Number == generation {
			e.Robot = g.Robot.Username()
		}
	}
	return e
}

// between says what happened to a robot between two looks at it.
func between(before, after *Status) []Event {
	var events []Event
	if before.Namespace != after.Namespace {
		// It was found in a list, under the hash that stands for the namespace, and now the namespace asked for it.
		events = append(events, before.event(EventRemoved, -1, "it is called "+after.Namespace+" from now on"))
		before = &Status{Current: -1}
	}
	switch {
	case after.Current >= 0 && after.Current != before.Current:
		events = append(events, after.event(EventPublished, after.Current, ""))
	case after.Current < 0 && before.Current >= 0 && !after.Trouble && !strings.HasPrefix(after.Why, underWayPrefix):
		events = append(events, before.event(EventFailed, before.Current, "it is not handed out any more: "+after.Why))
	}
	events = append(events, fates(before, after)...)
	for _, f := range after.Failures {
		if !slices.ContainsFunc(before.Failures, f.same) {
			events = append(events, after.event(EventFailed, -1, f.String()))
		}
	}
	for _, f := range before.Failures {
		if !slices.ContainsFunc(after.Failures, f.same) {
			events = append(events, after.event(EventRecovered, -1, f.Step))
		}
	}
	return events
}

// fates says which generations were superseded and which are gone. A robot that keeps its name has no generations to speak
// of: its token is replaced, and that another one is served tells all.
func fates(before, after *Status) []Event {
	if after.Spec.Strategy != Overlap {
		return nil
	}
	var events []Event
	for _, g := range before.Plan.Generations {
		now := slices.IndexFunc(after.Plan.Generations, func(h GenerationState) bool { return h.Number == g.Number })
		switch {
		case g.State == StateConflict: // never ours
		case now < 0:
			why := after.deleted[g.Number]
			if why == "" {
				why = "another replica or a person deleted it"
			}
			events = append(events, before.event(EventRetired, g.Number, why))
		case after.Plan.Generations[now].State == StateDraining && g.State != StateDraining && g.State != StateMissing:
			events = append(events, after.event(EventSuperseded, g.Number, ""))
		}
	}
	return events
}

// Restart is why a watch has to begin with a listing.
type Restart int

// The reasons. With the zero value the watch goes on where it was.
const (
	RestartNone         Restart = iota
	RestartNoPosition           // none was given
	RestartTooOld               // events after the position are no longer kept
	RestartOtherProcess         // the position is another process's: of another replica, or from before a restart
)

// ErrPosition is returned for what is no position at all.
var ErrPosition = errors.New("not a position")

// Watch follows what happens to robots. It is not safe for concurrent use.
type Watch struct {
	log  *eventLog
	next uint64 // number of the first event that was not taken yet
}

// Watch goes on behind a position, as [Watch.Next] and [Watch.List] return them. Where that cannot be, or none is given, it
// says why, and the watch goes on behind now; call [Watch.List] first.
func (e *Engine) Watch(position string) (*Watch, Restart, error) {
	l := e.events
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &Watch{log: l, next: l.last + 1}
	if position == "" {
		return w, RestartNoPosition, nil
	}
	epoch, number, ok := strings.Cut(position, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	switch {
	case !ok || err != nil || len(epoch) != len(l.epoch), epoch == l.epoch && n > l.last:
		return nil, RestartNone, fmt.Errorf("%w: a position is what an earlier answer said", ErrPosition)
	case epoch != l.epoch:
		return w, RestartOtherProcess, nil
	case n < l.forgottenLocked():
		return w, RestartTooOld, nil
	}
	w.next = n + 1
	return w, RestartNone, nil
}

// forgottenLocked is the number of the newest event that is no longer kept.
func (l *eventLog) forgottenLocked() uint64 { return l.last - uint64(len(l.kept)) }

func (l *eventLog) position(n uint64) string { return l.epoch + "-" + strconv.FormatUint(n, 10) }

// List returns all robots as they are, ordered by name and namespace, and the position behind: the events after it are
// those that are not in the listing.
func (w *Watch) List() ([]Status, string) {
	asTold := func(_ *chain, s Status) Status { return s }
	statuses, last := w.log.snapshot(asTold)
	w.next = last + 1
	return statuses, w.log.position(last)
}

// ErrBehind is returned when the next event is no longer kept: it took too long. [Watch.List] goes on from now.
var ErrBehind = errors.New("the next event is no longer kept")

// Next returns at least one event, waiting for it until ctx ends.
func (w *Watch) Next(ctx context.Context) ([]Entry, error) {
	for {
		entries, changed, err := w.take()
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (w *Watch) take() (entries []Entry, changed <-chan struct{}, err error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	forgotten := l.forgottenLocked()
	if w.next <= forgotten {
		return nil, nil, ErrBehind
	}
	for i := w.next - forgotten - 1; i < uint64(len(l.kept)) && len(entries) < takenAtOnce; i++ {
		entries = append(entries, Entry{l.kept[i], l.position(w.next)})
		w.next++
	}
	return entries, l.changed, nil
}
