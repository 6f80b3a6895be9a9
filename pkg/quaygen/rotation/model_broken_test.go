package rotation

import "time"

// A breach is a rule that replicas do not keep.
type breach struct {
	rules
	oldDeletes bool // deletes however old the list is
	offsets    [2]time.Duration
	force      func() func(*Memory) (bool, error) // instead of the order to rotate
	revoke     func(*Memory) int64                // what it revokes instead of what it was asked to
}
