package rotation

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// A model is one state of two real replicas at one Quay, and of what consumers hold. Its time moves in ticks of one sync, and
// everything that happens within a tick happens at the same moment, in some order.
type model struct {
	w        *world
	replicas [2]*actor
	before   []quay.RobotInfo    // what a list showed at the end of the last tick; lagging lists show it
	held     map[int64]time.Time // until when consumers got which generation, where some may still hold it
	left     disturbances        // how much may still go wrong
	ends     time.Time           // the horizon
	scenario *scenario
	breach   breach

	book *book                    // with the strategy regenerate; else nil
	well map[fingerprint]struct{} // states from which all becomes well once nothing goes wrong any more; shared by a search's states
}

// An actor is a replica of a model, with where it is in its sync.
type actor struct {
	*replica
	phase    phase
	forced   bool  // a rotation is asked for, and not taken up yet
	revoking int64 // an operator waits for the revocation of this and all below; -1: none
	leaked   *fake // what its operator wants the end of
	flying   *Step // a creation whose answer was given up, and which arrives yet

	pending  *Step     // with the strategy regenerate: what it is about to do, past the look at its list's age
	began    time.Time // when it was
	knows    knowledge
	noLedger bool // cannot use the ledger
	unread   bool // cannot read the robot itself
}

type phase int

const (
	due     phase = iota // its next sync begins with a list
	again                // it lists again, since something was done
	working              // it has steps of a list left
	resting              // until the next tick

	recalling // it reads the ledger next
	reading   // it reads the token next
	begun     // it does the pending step next
	looked    // it has read the token again, and asks Quay next, should the lease allow it
)

// clone returns a copy of all that can change.
func (s *model) clone() *model {
	c := *s
	w := *s.w
	c.w = &w
	copies := make(map[*fake]*fake, len(w.ever))
	w.ever = make([]*fake, len(s.w.ever))
	w.robots = make(map[string]*fake, len(s.w.robots))
	for i, f := range s.w.ever {
		g := *f
		g.roles = maps.Clone(f.roles)
		copies[f], w.ever[i] = &g, &g
		if s.w.robots[f.robot.Short()] == f {
			w.robots[f.robot.Short()] = &g
		}
	}
	w.repositories = maps.Clone(w.repositories)
	w.past = []shown{s.w.past[len(s.w.past)-1]} // lag is the model's own
	w.broken = slices.Clone(w.broken)
	c.held = maps.Clone(s.held)
	c.book = s.book.clone()
	for i, a := range s.replicas {
		c.replicas[i] = a.clone(&w, copies)
	}
	return &c
}

func (a *actor) clone(w *world, copies map[*fake]*fake) *actor {
	b, r := *a, *a.replica
	b.replica, b.leaked = &r, copies[a.leaked]
	r.w, r.lease = w, copies[r.lease]
	r.todo = slices.Clone(r.todo)
	r.chain = &chain{registry: a.chain.registry, memory: a.memory().clone(), failed: maps.Clone(a.chain.failed), tried: maps.Clone(a.chain.tried)}
	r.chain.spec.Store(&r.spec)
	r.clock = &organization{log: slog.New(slog.DiscardHandler), chains: map[quay.Robot]*chain{r.spec.Base: r.chain}}
	r.clock.at, r.clock.sent, r.clock.frozen, r.clock.agreed = a.clock.at, a.clock.sent, a.clock.frozen, a.clock.agreed
	return &b
}

// clone returns a copy that shares nothing with m that a method of Memory writes to.
func (m *Memory) clone() *Memory {
	c := *m
	c.gens = make(map[int64]*generation, len(m.gens))
	for n, g := range m.gens {
		h := *g
		h.roles = maps.Clone(g.roles)
		c.gens[n] = &h
	}
	if m.revoke != nil {
		r := *m.revoke
		c.revoke = &r
	}
	c.unlisted, c.missing = maps.Clone(m.unlisted), maps.Clone(m.missing)
	return &c
}

// A fingerprint stands for a state: two with the same can only go on in the same way.
type fingerprint [16]byte

// key is the state's fingerprint. Replicas that differ in nothing else may change places.
func (s *model) key() fingerprint {
	if s.book != nil {
		return s.keyInPlace()
	}
	w := s.w
	e := make(encoding, 0, 4096)
	e.add(w.now, w.skew, w.grantsFail, s.left)
	for _, info := range s.before {
		e.add(info.Robot, since(w.now, info.LastAccessed, tick), info.Repositories)
	}
	for _, f := range w.ever {
		e.add(f.number, f.published.IsZero(), f.endedBy, since(w.now, f.ended, 6*tick))
		if f.live() {
			e.add(f.owned, f.created, since(w.now, f.lastAccessed, tick), f.roles, since(w.now, s.held[f.number], 2*tick))
		}
	}
	var each [2]encoding
	for i, a := range s.replicas {
		r := &each[i]
		r.add(a.memory().canonical(), a.phase, a.forced, a.revoking, s.index(a.leaked), a.flying, a.cut, a.noLogin, a.paused(), a.behind)
		r.add(a.clock.at, a.clock.sent, a.clock.frozen, a.clock.agreed, a.listing.At, a.listing.Sent)
		if a.lease != nil {
			r.add(s.index(a.lease), a.leaseSent, a.leaseFor)
		}
		if a.phase == working || a.phase == again {
			r.add(a.chain.failed, a.chain.tried, a.todo, a.worked, a.rest, a.stage)
		}
	}
	if s.replicas[0].spec.Overlap == s.replicas[1].spec.Overlap && s.breach.offsets[0] == s.breach.offsets[1] {
		slices.SortFunc(each[:], func(a, b encoding) int { return slices.Compare(a, b) })
	}
	sum := sha256.Sum256(append(append(e, each[0]...), each[1]...))
	return fingerprint(sum[:16])
}

// canonical is m without what makes no difference any more: a time that is only compared with now less some duration
// counts up to that duration, and so does a time that is only added up.
func (m *Memory) canonical() Memory {
	c := *m
	c.gens = make(map[int64]*generation, len(m.gens))
	until := func(t time.Time, most time.Duration) time.Time {
		if t.IsZero() || m.at.Sub(t) <= most {
			return t
		}
		return m.at.Add(-most - tick)
	}
	safety := m.spec.Safety
	c.first = until(m.first, max(safety.Settle, m.spec.MaxRefresh+m.spec.Sync)) // Revoked, giveUp
	c.trouble = until(m.trouble, safety.Settle+2*m.spec.Sync)                   // delete; longer than Quiet
	c.shaken = until(m.shaken, 2*m.spec.Overlap)                                // superseded
	c.claimAt = until(m.claimAt, safety.Settle)                                 // awaited
	for n, g := range m.gens {
		h := *g
		h.regarded = min(g.regarded, 2*m.spec.Overlap)          // superseded, where scenarios differ in overlap
		h.served = min(g.served, m.spec.MaxRefresh+m.spec.Sync) // superseded
		h.accessed = until(g.accessed, 0)                       // whether at all
		if g.unused.Sub(g.Created) > g.Timing.window() {
			h.accessed = until(g.accessed, 2*m.spec.Overlap) // superseded, of what was published late
			h.unused = g.Created.Add(g.Timing.window() + tick)
		} else {
			h.unused = time.Time{}
		}
		if !g.looked.Equal(m.sent) {
			h.looked = time.Time{} // servable
		}
		h.evident = until(g.evident, m.spec.Adopt())         // publish
		h.kept = until(g.kept, 0)                            // delete
		h.LastAccessed = until(g.LastAccessed, m.spec.Quiet) // quiet
		h.tokenRead, h.rolesRead = time.Time{}, time.Time{}  // only with the strategy none, and by the audit
		h.touched = time.Time{}                              // only of robots of namespaces
		if !g.accessed.IsZero() {
			h.proofAt = time.Time{} // superseded
		}
		c.gens[n] = &h
	}
	return c
}

// since is the time from t to now, up to most and a little; -1 if t is zero.
func since(now, t time.Time, most time.Duration) time.Duration {
	if t.IsZero() {
		return -1
	}
	return min(now.Sub(t), most+1)
}

func (s *model) index(f *fake) int { return slices.Index(s.w.ever, f) }

// An encoding is what values hold, byte for byte. Pointers stand for what they point to.
type encoding []byte

func (e *encoding) add(values ...any) {
	for _, v := range values {
		e.value(reflect.ValueOf(v))
	}
}

func (e *encoding) number(n uint64) { *e = binary.AppendUvarint(*e, n) }

func (e *encoding) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			e.number(1)
		} else {
			e.number(0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*e = binary.AppendVarint(*e, v.Int())
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		e.number(v.Uint())
	case reflect.String:
		e.number(uint64(v.Len()))
		*e = append(*e, v.String()...)
	case reflect.Struct:
		e.fields(v)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			e.number(0)
			return
		}
		e.number(1)
		e.value(v.Elem())
	case reflect.Slice:
		e.number(uint64(v.Len()))
		for i := range v.Len() {
			e.value(v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int {
			if a.Kind() == reflect.String {
				return cmp.Compare(a.String(), b.String())
			}
			return cmp.Compare(a.Int(), b.Int())
		})
		e.number(uint64(len(keys)))
		for _, k := range keys {
			e.value(k)
			e.value(v.MapIndex(k))
		}
	default:
		panic(fmt.Sprintf("a model's state cannot hold a %v", v.Type()))
	}
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	secretType = reflect.TypeFor[secret.String]()
	// What is the same throughout a scenario.
	constantTypes = []reflect.Type{reflect.TypeFor[Spec](), reflect.TypeFor[Wanted]()}
)

func (e *encoding) fields(v reflect.Value) {
	switch {
	case v.Type() == timeType: // nanoseconds and seconds; no time here has a monotonic reading
		e.value(v.Field(0))
		e.value(v.Field(1))
	case v.Type() == secretType:
		e.value(v.Field(1))
	case slices.Contains(constantTypes, v.Type()):
	default:
		for i := range v.NumField() {
			e.value(v.Field(i))
		}
	}
}

// TestAClonedMemoryIsEqualAndSharesNothing fails when a field is added to what a process knows and clone does not copy it:
// the model's states would run into each other.
func TestAClonedMemoryIsEqualAndSharesNothing(t *testing.T) {
	m := new(Memory)
	fill(reflect.ValueOf(m).Elem())
	c := m.clone()
	if !reflect.DeepEqual(m, c) {
		t.Errorf("the clone differs:\n%+v\n%+v", m, c)
	}
	for _, path := range shared("Memory", reflect.ValueOf(m).Elem(), reflect.ValueOf(c).Elem()) {
		t.Errorf("%s is shared with the clone", path)
	}
}

// TestEveryFieldOfAMemoryCountsInItsKey: states that differ in a field must not be taken for the same.
func TestEveryFieldOfAMemoryCountsInItsKey(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[Memory](), reflect.TypeFor[generation](), reflect.TypeFor[sighting](), reflect.TypeFor[revocation]()} {
		for i := range typ.NumField() {
			if slices.Contains(constantTypes, typ.Field(i).Type) {
				continue
			}
			v := reflect.New(typ).Elem()
			var without, with encoding
			without.value(v)
			fill(v.Field(i))
			with.value(v)
			if slices.Equal(without, with) {
				t.Errorf("%v.%s does not count", typ, typ.Field(i).Name)
			}
		}
	}
}

// fill sets everything in v to something, unexported fields too.
func fill(v reflect.Value) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("seven")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		switch v.Type() {
		case timeType:
			v.Set(reflect.ValueOf(startOfTest))
		case secretType:
			v.Set(reflect.ValueOf(secret.New("seven")))
		default:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		}
	default:
		panic(fmt.Sprintf("a model's state cannot hold a %v", v.Type()))
	}
}

// shared returns the maps and pointers that two values have in common, other than in what nobody writes to: a list's
// names of grants and teams, secrets, and what is the same throughout.
func shared(path string, a, b reflect.Value) (out []string) {
	if a.Type() == timeType || a.Type() == secretType || slices.Contains(constantTypes, a.Type()) {
		return nil
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.Pointer() == b.Pointer() {
			return []string{path}
		}
		return shared(path, a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Type() != reflect.TypeFor[[]string]() && a.Pointer() == b.Pointer() {
			return []string{path}
		}
	case reflect.Map:
		if a.Pointer() == b.Pointer() {
			return []string{path}
		}
		for _, k := range a.MapKeys() {
			out = append(out, shared(fmt.Sprintf("%s[%v]", path, k), a.MapIndex(k), b.MapIndex(k))...)
		}
	case reflect.Struct:
		for i := range a.NumField() {
			out = append(out, shared(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))...)
		}
	default:
	}
	return out
}
