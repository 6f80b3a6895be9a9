package httpapi

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// idle closes connections over which nothing is asked for a while. The standard library's own timer would do, but for what it
// does with HTTP/2: where a connection breaks while requests are under way, it starts that timer for the dead connection and keeps
// all that belongs to it, some 50 KiB, in memory until it is over.
type idle struct {
	mu     sync.Mutex
	timers map[net.Conn]*time.Timer
}

func newIdle() *idle { return &idle{timers: make(map[net.Conn]*time.Timer)} }

// state is told by the server what each connection is at; the last that it says of one is that it is closed.
func (i *idle) state(c net.Conn, state http.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	timer := i.timers[c]
	switch {
	case state == http.StateIdle && timer == nil:
		i.timers[c] = time.AfterFunc(idleTimeout, func() { c.Close() })
	case timer == nil:
	case state == http.StateIdle:
		timer.Reset(idleTimeout)
	case state == http.StateActive:
		timer.Stop()
	default:
		timer.Stop()
		delete(i.timers, c)
	}
}
