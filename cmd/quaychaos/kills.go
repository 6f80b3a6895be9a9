package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
)

// killCase is a moment in which a replica dies: while one of its calls is under way, before the call has its effect in
// Quay or after it.
type killCase struct {
	replica   int
	operation string
	after     bool
}

// steps are the calls of a rotation: create, list and read back, grant, log in, read the token, delete.
func (w way) steps() []string {
	if w == wayRegenerate {
		return []string{"robot.regenerate", "robot.list", "auth", "robot.get"}
	}
	return []string{"robot.create", "robot.list", "permission.put", "auth", "robot.get", "robot.delete"}
}

// killRound returns every case once, in an order drawn from the seed.
func (s scenario) killRound(draw *rand.Rand) []killCase {
	var all []killCase
	for r := range s.copies {
		for _, operation := range s.way.steps() {
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
func (k *killCount) count(s scenario) (fewest, all int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.kills {
		all += n
		if fewest == 0 || n < fewest {
			fewest = n
		}
	}
	if len(k.kills) < s.copies*len(s.way.steps())*2 {
		fewest = 0
	}
	return fewest, all
}

// next takes the first case, and some more of the same replica, out of a queue.
func next(queue []killCase) (batch, rest []killCase) {
	const atOnce = 4
	for _, c := range queue {
		if len(batch) < atOnce && c.replica == queue[0].replica {
			batch = append(batch, c)
		} else {
			rest = append(rest, c)
		}
	}
	return batch, rest
}

// killing kills one replica after the other in the middle of a call, and starts it again, until ctx ends. It lies in wait
// for several calls at a time; those that it missed come again later.
func (w *world) killing(ctx context.Context, draw *rand.Rand, count *killCount) error {
	const patience = 5 * time.Second
	var queue []killCase
	for ctx.Err() == nil {
		if len(queue) == 0 {
			queue = w.killRound(draw)
		}
		batch, rest := next(queue)
		r := w.replicas[batch[0].replica]
		// With the strategy regenerate it takes this long to learn what became of a rotation, and a restart begins anew.
		calm := time.Duration(0)
		if w.way == wayRegenerate {
			calm = 4 * (w.deadline + w.settle)
		}
		down, extra := w.sync/2+time.Duration(draw.Int64N(int64(2*w.sync))), 4*w.sync+time.Duration(draw.Int64N(int64(8*w.sync)))
		var faults []fault
		for _, c := range batch {
			faults = append(faults, fault{Operation: c.operation, Host: r.door, Hang: true, LostAnswer: c.after, Times: 1})
		}
		hit, err := w.quay.inject(ctx, patience, func(hit int) {
			r.kill()
			count.add(batch[hit])
		}, faults...)
		if hit >= 0 {
			batch = slices.Delete(batch, hit, hit+1)
			_ = await.Time(ctx, down)
			// It runs to the end of the scenario, not to the end of the trouble.
			if err := w.launch(context.WithoutCancel(ctx), r); err != nil {
				return err
			}
		}
		queue = append(rest, batch...)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		_ = await.Time(ctx, calm+extra)
	}
	return nil
}
