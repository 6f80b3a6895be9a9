package rotation

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A marker says whose robot this is. It stands at the head of the description, which is all that a list shows of it,
// and in unstructured_metadata.quaygen for people and other programs. Quay has no call that changes either after
// creation (docs/quay-contract.md 2.2), so what it records holds for the robot's life.
type marker struct {
	Instance   string
	Robot      string // short name of the base
	Generation int64
	Timing     timing
}

const markerHead = "quaygen/1"

// String renders the marker for a description:
//
//	quaygen/1 instance=prod-eu robot=k8s_prod_puller generation=469980 overlap=86400s max=604800s refresh=3600s
//
// The robot of a namespace has another field at its end: idle=2592000s.
func (m marker) String() string {
	text := fmt.Sprintf("%s instance=%s robot=%s generation=%d overlap=%s max=%s refresh=%s", markerHead,
		m.Instance, m.Robot, m.Generation, seconds(m.Timing.Overlap), seconds(m.Timing.Max), seconds(m.Timing.MaxRefresh))
	if m.Timing.Idle > 0 {
		text += " idle=" + seconds(m.Timing.Idle)
	}
	return text
}

// seconds counts in whole numbers: through a float64 a long time would be read back as another one, or not at all.
func seconds(d time.Duration) string {
	text := fmt.Sprintf("%d.%09d", d/time.Second, d%time.Second)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + "s"
}

// metadata is the marker as unstructured_metadata.
func (m marker) metadata() map[string]any {
	fields := map[string]any{
		"instance":   m.Instance,
		"robot":      m.Robot,
		"generation": m.Generation,
		"overlap":    seconds(m.Timing.Overlap),
		"max":        seconds(m.Timing.Max),
		"maxRefresh": seconds(m.Timing.MaxRefresh),
	}
	if m.Timing.Idle > 0 {
		fields["idle"] = seconds(m.Timing.Idle)
	}
	return map[string]any{"quaygen": fields}
}

// parseMarker reads a marker from the head of a description; text after it is a person's. Anything that is not
// exactly a marker is none: a robot is either certainly ours or not touched.
func parseMarker(description string) (marker, bool) {
	fields := strings.Fields(description)
	keys := []string{"instance", "robot", "generation", "overlap", "max", "refresh"}
	if len(fields) < len(keys)+1 || fields[0] != markerHead {
		return marker{}, false
	}
	values := make([]string, len(keys))
	for i, key := range keys {
		value, ok := strings.CutPrefix(fields[i+1], key+"=")
		if !ok || value == "" {
			return marker{}, false
		}
		values[i] = value
	}
	m := marker{Instance: values[0], Robot: values[1]}
	var err error
	if m.Generation, err = strconv.ParseInt(values[2], 10, 64); err != nil || m.Generation < 0 {
		return marker{}, false
	}
	for i, d := range []*time.Duration{&m.Timing.Overlap, &m.Timing.Max, &m.Timing.MaxRefresh} {
		if *d, err = time.ParseDuration(values[3+i]); err != nil || *d < 0 {
			return marker{}, false
		}
	}
	if len(fields) > len(keys)+1 {
		if value, ok := strings.CutPrefix(fields[len(keys)+1], "idle="); ok {
			if m.Timing.Idle, err = time.ParseDuration(value); err != nil || m.Timing.Idle < 0 {
				return marker{}, false
			}
		}
	}
	if !strings.HasPrefix(description+" ", m.String()+" ") {
		return marker{}, false // numbers, times and spaces can be written in more than one way, and we write one
	}
	return m, true
}
