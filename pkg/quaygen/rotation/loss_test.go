package rotation_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A losing ledger can be lost, or become an older one, while a process uses it, as Leases can; and it knows what its file held at
// each open rotation.
type losing struct {
	current atomic.Pointer[ledger.Store]
	path    string
	open    atomic.Pointer[[]byte]
}

func (l *losing) use(s ledger.Store) { l.current.Store(&s) }

func (l *losing) Load(ctx context.Context, robot quay.Robot) (ledger.Record, ledger.Version, error) {
	return (*l.current.Load()).Load(ctx, robot)
}

func (l *losing) Create(ctx context.Context, r ledger.Record) (ledger.Version, error) {
	return (*l.current.Load()).Create(ctx, r)
}

func (l *losing) Replace(ctx context.Context, r ledger.Record, old ledger.Version) (ledger.Version, error) {
	v, err := (*l.current.Load()).Replace(ctx, r, old)
	if content, readErr := os.ReadFile(l.path); err == nil && readErr == nil && !r.Intent.IsZero() {
		l.open.Store(&content)
	}
	return v, err
}

func (l *losing) Close() error { return (*l.current.Load()).Close() }

// takeover is for how long a process observes an intent that it did not write (G1).
const takeover = 8 * time.Minute

// What docs/operating.md says of each loss: nothing is rotated because of it, all that was due is due again an `every` later at the
// latest, and the token of now is served all the time.
func TestWhateverBecomesOfTheLedgerTheTokenOfNowIsServedAndRotatedLaterOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		running bool          // it happens while a process uses it
		away    time.Duration // for so long nothing may be handed out
		lose    func(t *testing.T, l *losing, yesterday []byte)
	}{
		{"the file is lost", false, 0, func(t *testing.T, l *losing, _ []byte) { remove(t, l.path, l.path+".lock") }},
		{"the file is lost while it is in use", true, 0, func(t *testing.T, l *losing, _ []byte) { remove(t, l.path) }},
		{"the file is cut off while it is in use", true, 0, func(t *testing.T, l *losing, y []byte) { put(t, l.path, y[:len(y)/2]) }},
		{"yesterday's file is put back", false, 0, func(t *testing.T, l *losing, y []byte) { put(t, l.path, y) }},
		{"yesterday's file is put back while it is in use", true, 0, func(t *testing.T, l *losing, y []byte) { put(t, l.path, y) }},
		{"a file with a rotation that is over is put back", false, takeover, func(t *testing.T, l *losing, _ []byte) { put(t, l.path, *l.open.Load()) }},
		{"all Leases are deleted while they are in use", true, 0, func(_ *testing.T, l *losing, _ []byte) { l.use(ledger.NewMemory()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				s.spec.Strategy, s.spec.Sync, s.spec.Every = rotation.Regenerate, 10*time.Minute, 40*time.Hour
				l := &losing{path: filepath.Join(t.TempDir(), "ledger.db")}
				s.ledger = l
				open := func() {
					file, err := ledger.OpenFile(t.Context(), l.path)
					if err != nil {
						t.Fatal(err)
					}
					l.use(file)
				}
				open()
				e, stop := s.start()
				s.calm(e)
				yesterday, err := os.ReadFile(l.path)
				if err != nil {
					t.Fatal(err)
				}
				for s.posts() < 2 { // two rotations
					s.pass(time.Hour)
				}
				s.calm(e)
				if tt.running {
					tt.lose(t, l, yesterday)
				} else {
					stop()
					check(t, l.Close())
					tt.lose(t, l, yesterday)
					open()
					e, stop = s.start()
				}
				defer func() { stop(); check(t, l.Close()) }()

				lost, seen := time.Now(), map[string]bool{}
				if tt.away > 0 {
					s.pass(tt.away + 2*s.spec.Sync)
				}
				for s.posts() == 2 {
					token := s.calm(e)
					if seen[token.Token.Fingerprint()] = true; !s.pulls(token) || len(seen) > 1 {
						t.Fatalf("%v after the loss the token does not pull, or is another one", time.Since(lost))
					}
					if time.Since(lost) > s.spec.Every+time.Hour {
						t.Fatal("it is not rotated any more")
					}
					s.pass(time.Hour)
				}
				if took := time.Since(lost); took < s.spec.Every-s.spec.Every/10-time.Hour {
					t.Errorf("it is rotated %v after the loss", took)
				}
				s.calm(e)
				s.pass(s.spec.Every / 2)
				if !s.pulls(s.calm(e)) || s.posts() != 3 {
					t.Errorf("%d regenerations", s.posts())
				}
			})
		})
	}
}

func TestAFileThatIsDamagedWhileNobodyUsesItIsToBeRestoredOrMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := ledger.OpenFile(t.Context(), path)
	check(t, err)
	check(t, s.Close())
	whole, err := os.ReadFile(path)
	check(t, err)
	put(t, path, whole[:len(whole)/2])
	if _, err := ledger.OpenFile(t.Context(), path); err == nil {
		t.Fatal("half a file is a ledger")
	}
	check(t, os.Rename(path, path+".damaged"))
	s, err = ledger.OpenFile(t.Context(), path)
	check(t, err)
	check(t, s.Close())
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	check(t, os.WriteFile(path, content, 0o600))
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
