package product

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Fault is what happens to requests in Quay's stead, or to its answers.
type Fault struct {
	Operation  string `json:"operation,omitempty"`   // such as "robot.get"; empty: all
	Delay      string `json:"delay,omitempty"`       // before Quay does anything, as "250ms"
	Hang       bool   `json:"hang,omitempty"`        // no answer ever, and no effect
	LostAnswer bool   `json:"lost_answer,omitempty"` // with Hang: no answer ever, but the effect
	Times      int    `json:"times,omitempty"`       // to so many requests; 0: to all, until removed
}

// hitPatience bounds one question whether a fault has happened.
const hitPatience = 5 * time.Second

// Inject makes a fault happen from now on. The number it returns is the fault's.
func (q *Quay) Inject(ctx context.Context, f Fault) (int, error) {
	var armed struct {
		ID int `json:"id"`
	}
	err := q.call(ctx, http.MethodPost, "/quaydev/faults", f, &armed)
	return armed.ID, err
}

// Happened returns as soon as a fault has happened, or false when that took
// longer than some seconds.
func (q *Quay) Happened(ctx context.Context, fault int) (bool, error) {
	var seen struct {
		Hits int `json:"hits"`
	}
	err := q.call(ctx, http.MethodGet, fmt.Sprintf("/quaydev/faults/%d?wait=%v", fault, hitPatience), nil, &seen)
	return seen.Hits > 0, err
}

// Mend ends all faults.
func (q *Quay) Mend(ctx context.Context) error {
	return q.call(ctx, http.MethodDelete, "/quaydev/faults", nil, nil)
}

// Done counts the requests of an operation, such as "robot.regenerate", that had
// their effect, those included whose answer was lost.
func (q *Quay) Done(ctx context.Context, operation string) (int, error) {
	counts := map[string]int{}
	err := q.call(ctx, http.MethodGet, fmt.Sprintf("/quaydev/calls?status=%d", http.StatusOK), nil, &counts)
	return counts[operation], err
}
