// Package ledgertest is the definition of what a ledger's store does: the tests that each has to pass.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Robot returns a robot by the name of its organization, or user, and its short name.
func Robot(t *testing.T, owner string, user bool, short string) quay.Robot {
	t.Helper()
	parse := quay.ParseOrganization
	if user {
		parse = quay.ParseUser
	}
	o, err := parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	r, err := quay.NewRobot(o, short)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Record returns a complete record of a robot, with an intent.
func Record(robot quay.Robot) ledger.Record {
	at := time.Date(2026, 11, 24, 9, 30, 15, 0, time.UTC)
	return ledger.Record{
		Robot: robot, Rotations: 3, Fingerprint: "0123456789ab", Changed: at,
		Intent: ledger.Intent{ID: "one", Holder: "pod-1", Fingerprint: "0123456789ab", At: at.Add(time.Hour), Lease: 390 * time.Second, Reason: "due since 2026-11-24T10:30:15Z"},
	}
}

// Run runs the tests. open opens the same store each time it is called within one test: where a store is shared by processes
// it returns another handle, and where it keeps nothing beyond the process the same one.
func Run(t *testing.T, begin func(t *testing.T) (open func() ledger.Store)) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, open func() ledger.Store)
	}{
		{"a record is read back as it was written", readsBack},
		{"what was never written is not found", notFound},
		{"a record is created once", createdOnce},
		{"a record is replaced only by who knows its version", replacedByVersion},
		{"of many who replace the same version one succeeds", oneReplaces},
		{"of many who create the same record one succeeds", oneCreates},
		{"records of different robots do not touch", keptApart},
		{"a record that means nothing is not written", refused},
		{"nothing is done for a caller that has gone", cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, begin(t)) })
	}
}

func mustCreate(t *testing.T, s ledger.Store, r ledger.Record) ledger.Version {
	t.Helper()
	v, err := s.Create(t.Context(), r)
	if err != nil || v == "" {
		t.Fatalf("Create: %q, %v", v, err)
	}
	return v
}

func expect(t *testing.T, s ledger.Store, want ledger.Record, version ledger.Version) {
	t.Helper()
	got, v, err := s.Load(t.Context(), want.Robot)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	// Times compare by their instant.
	if !got.Changed.Equal(want.Changed) || !got.Intent.At.Equal(want.Intent.At) {
		t.Errorf("Load: times %v, %v; want %v, %v", got.Changed, got.Intent.At, want.Changed, want.Intent.At)
	}
	got.Changed, got.Intent.At = want.Changed, want.Intent.At
	if got != want || v != version {
		t.Errorf("Load: %+v at %q\nwant %+v at %q", got, v, want, version)
	}
}

func readsBack(t *testing.T, open func() ledger.Store) {
	with := Record(Robot(t, "myorg", false, "with"))
	without := Record(Robot(t, "myorg", false, "without"))
	without.Intent = ledger.Intent{}
	fine := Record(Robot(t, "myorg", false, "fine"))
	fine.Changed = fine.Changed.Add(123456789)
	for _, r := range []ledger.Record{with, without, fine} {
		v := mustCreate(t, open(), r)
		expect(t, open(), r, v)
		r.Rotations++
		next, err := open().Replace(t.Context(), r, v)
		if err != nil || next == v {
			t.Fatalf("Replace: %q after %q, %v", next, v, err)
		}
		expect(t, open(), r, next)
	}
}

func notFound(t *testing.T, open func() ledger.Store) {
	if r, v, err := open().Load(t.Context(), Robot(t, "myorg", false, "nobody")); !errors.Is(err, ledger.ErrNotFound) || v != "" {
		t.Errorf("Load: %+v, %q, %v", r, v, err)
	}
	if _, err := open().Replace(t.Context(), Record(Robot(t, "myorg", false, "nobody")), "1"); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("Replace: %v", err)
	}
}

func createdOnce(t *testing.T, open func() ledger.Store) {
	r := Record(Robot(t, "myorg", false, "once"))
	v := mustCreate(t, open(), r)
	other := r
	other.Rotations = 99
	if _, err := open().Create(t.Context(), other); !errors.Is(err, ledger.ErrExists) {
		t.Errorf("Create again: %v", err)
	}
	expect(t, open(), r, v)
}

func replacedByVersion(t *testing.T, open func() ledger.Store) {
	r := Record(Robot(t, "myorg", false, "swapped"))
	first := mustCreate(t, open(), r)
	r.Rotations++
	second, err := open().Replace(t.Context(), r, first)
	if err != nil {
		t.Fatal(err)
	}
	late := r
	late.Fingerprint = "ffffffffffff"
	for _, old := range []ledger.Version{first, "", "no version"} {
		if _, err := open().Replace(t.Context(), late, old); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("Replace of version %q: %v", old, err)
		}
	}
	expect(t, open(), r, second)
}

const crowd = 8

// one demands that exactly one of many concurrent writes succeeds, and the others fail with want.
func one(t *testing.T, want error, write func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	errs := make([]error, crowd)
	for i := range crowd {
		group.Go(func() { errs[i] = write(i) })
	}
	group.Wait()
	succeeded := 0
	for _, err := range errs {
		switch {
		case err == nil:
			succeeded++
		case !errors.Is(err, want):
			t.Errorf("%v; want %v", err, want)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d of %d succeeded", succeeded, crowd)
	}
}

func oneReplaces(t *testing.T, open func() ledger.Store) {
	r := Record(Robot(t, "myorg", false, "wanted"))
	v := mustCreate(t, open(), r)
	one(t, ledger.ErrConflict, func(i int) error {
		mine := r
		mine.Intent.ID = fmt.Sprint(i)
		_, err := open().Replace(t.Context(), mine, v)
		return err
	})
}

func oneCreates(t *testing.T, open func() ledger.Store) {
	r := Record(Robot(t, "myorg", false, "wanted"))
	one(t, ledger.ErrExists, func(int) error {
		_, err := open().Create(t.Context(), r)
		return err
	})
}

func keptApart(t *testing.T, open func() ledger.Store) {
	robots := []quay.Robot{
		Robot(t, "myorg", false, "a.b"), Robot(t, "myorg", false, "a-b"), Robot(t, "myorg", false, "a_b"), Robot(t, "myorg", true, "a-b"),
		Robot(t, "other", false, "a-b"), Robot(t, "myorg-a", false, "b0"), Robot(t, "myorg", false, strings.Repeat("x", 249)),
		Robot(t, strings.Repeat("o", 200), false, "puller"), Robot(t, strings.Repeat("o", 201), false, "puller"),
	}
	versions := make([]ledger.Version, len(robots))
	for i, robot := range robots {
		r := Record(robot)
		r.Rotations = int64(i)
		versions[i] = mustCreate(t, open(), r)
	}
	for i, robot := range robots {
		want := Record(robot)
		want.Rotations = int64(i)
		expect(t, open(), want, versions[i])
	}
}

func refused(t *testing.T, open func() ledger.Store) {
	robot := Robot(t, "myorg", false, "odd")
	for _, spoil := range []func(*ledger.Record){
		func(r *ledger.Record) { r.Fingerprint = "" },
		func(r *ledger.Record) { r.Changed = time.Time{} },
		func(r *ledger.Record) { r.Intent.ID = "" },
		func(r *ledger.Record) { r.Intent.Lease = 0 },
	} {
		r := Record(robot)
		spoil(&r)
		if _, err := open().Create(t.Context(), r); err == nil {
			t.Errorf("%+v was written", r)
		}
	}
	if _, _, err := open().Load(t.Context(), robot); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
}

func cancelled(t *testing.T, open func() ledger.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := Record(Robot(t, "myorg", false, "late"))
	if _, err := open().Create(ctx, r); err == nil {
		t.Error("Create did its work")
	}
	if _, _, err := open().Load(ctx, r.Robot); err == nil {
		t.Error("Load did its work")
	}
	if _, _, err := open().Load(t.Context(), r.Robot); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
}
