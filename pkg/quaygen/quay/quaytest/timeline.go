package quaytest

import "time"

// timeline is a value with its past, so that a list can be answered as of an earlier moment, as a lagging database
// replica would.
type timeline[T any] []moment[T]

type moment[T any] struct {
	since time.Time
	value T
}

func (l *timeline[T]) set(at time.Time, v T) { *l = append(*l, moment[T]{at, v}) }

// now returns the latest value, zero if none was set.
func (l timeline[T]) now() T {
	var zero T
	if len(l) == 0 {
		return zero
	}
	return l[len(l)-1].value
}

// view is the moment whose state an answer shows. The zero view is the present.
type view struct{ at time.Time }

func (v view) stale() bool { return !v.at.IsZero() }

// seen returns what l was at v, zero before its first value.
func seen[T any](v view, l timeline[T]) T {
	if !v.stale() {
		return l.now()
	}
	for i := len(l) - 1; i >= 0; i-- {
		if !l[i].since.After(v.at) {
			return l[i].value
		}
	}
	var zero T
	return zero
}

// alive reports whether something with this life exists at v.
func (v view) alive(created, deleted time.Time) bool {
	if !v.stale() {
		return deleted.IsZero()
	}
	return !created.After(v.at) && (deleted.IsZero() || deleted.After(v.at))
}
