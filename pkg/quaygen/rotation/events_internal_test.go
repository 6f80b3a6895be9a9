package rotation

import (
	"errors"
	"testing"
)

func TestEventsThatAreNoLongerKeptAreSaidToBeMissing(t *testing.T) {
	e := New(Config{})
	w, _, err := e.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	_, begin := w.List()
	for range 5 * keptEvents {
		e.events.add(Event{Type: EventFailed})
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrBehind) {
		t.Errorf("a watch that fell behind: %v", err)
	}
	if _, restart, err := e.Watch(begin); err != nil || restart != RestartTooOld {
		t.Errorf("from an old position: %v, %v", restart, err)
	}
	if n := len(e.events.kept); n < keptEvents || n > 2*keptEvents {
		t.Errorf("%d events are kept", n)
	}
	// The oldest position that can be gone on from is that of the last event that is not kept.
	oldest := e.events.position(e.events.forgottenLocked())
	w, restart, err := e.Watch(oldest)
	if err != nil || restart != RestartNone {
		t.Fatalf("from the oldest position that is kept: %v, %v", restart, err)
	}
	taken, last := 0, ""
	for last != e.events.position(e.events.last) {
		entries, err := w.Next(t.Context())
		if err != nil || len(entries) > takenAtOnce {
			t.Fatalf("%d entries at once, %v", len(entries), err)
		}
		taken, last = taken+len(entries), entries[len(entries)-1].Position
	}
	if taken != len(e.events.kept) {
		t.Errorf("%d entries of %d", taken, len(e.events.kept))
	}
	w.List()
	e.events.add(Event{Type: EventRecovered})
	if entries, err := w.Next(t.Context()); err != nil || len(entries) != 1 || entries[0].Type != EventRecovered {
		t.Errorf("after a new listing: %v, %v", entries, err)
	}
}
