package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// killCase is a moment in which a replica dies: while one of its calls is under way, before the call has its effect in
// Quay or after it.
type killCase struct {
	replica   int
	operation string
	after     bool
}

// The calls of a rotation: create, list and read back, grant, log in, read the token, delete.
var steps = []string{"robot.create", "robot.list", "permission.put", "auth", "robot.get", "robot.delete"}

// killRound returns every case once, in an order drawn from the seed.
func killRound(draw *rand.Rand, replicas int) []killCase {
	var all []killCase
	for r := range replicas {
		for _, operation := range steps {
			all = append(all, killCase{r, operation, false}, killCase{r, operation, true})
		}
	}
	draw.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

type killCount struct {
	mu    sync.Mutex
	kills map[killCase]int
}

func (k *killCount) add(c killCase) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kills[c]++
}

// fewest is how often the rarest case happened, and all how many kills there were.
func (k *killCount) count(replicas int) (fewest, all int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.kills {
		all += n
		if fewest == 0 || n < fewest {
			fewest = n
		}
	}
	if len(k.kills) < replicas*len(steps)*2 {
		fewest = 0
	}
	return fewest, all
}

// killing kills one replica after the other in the middle of a call, and starts it again, until ctx ends.
func (w *world) killing(ctx context.Context, draw *rand.Rand, count *killCount) error {
	const patience = 10 * time.Second // a call that does not come within it is tried again later
	var queue []killCase
	for ctx.Err() == nil {
		if len(queue) == 0 {
			queue = killRound(draw, len(w.replicas))
		}
		c := queue[0]
		queue = queue[1:]
		down, calm := w.sync/2+time.Duration(draw.Int64N(int64(2*w.sync))), 2*w.sync+time.Duration(draw.Int64N(int64(4*w.sync)))
		r := w.replicas[c.replica]
		f := fault{Operation: c.operation, Host: r.door, Hang: true, LostAnswer: c.after, Times: 1}
		hit, err := w.quay.inject(ctx, f, patience, func() error {
			r.kill()
			count.add(c)
			return nil
		})
		if hit {
			_ = pause(ctx, down)
			// It runs to the end of the scenario, not to the end of the trouble.
			if err := w.launch(context.WithoutCancel(ctx), r); err != nil {
				return err
			}
		} else {
			queue = append(queue, c)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		_ = pause(ctx, calm)
	}
	return nil
}
