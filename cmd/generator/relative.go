package main

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// span says how long, in the one unit that matters: "12s", "5m", "26h", "3d".
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// age is how long ago t was; "-" where there is no t.
func (s *screen) age(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return span(max(0, s.now().Sub(t.AsTime())))
}

// relative says when t is, as people do: "in 3d", "12m ago"; otherwise where there is no t.
func (s *screen) relative(t *timestamppb.Timestamp, otherwise string) string {
	if t == nil {
		return otherwise
	}
	if d := t.AsTime().Sub(s.now()); d > 0 {
		return "in " + span(d)
	}
	return s.age(t) + " ago"
}
