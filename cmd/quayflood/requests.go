package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// requests are the attacks of which each try is a connection with one request.
func requests() map[string]func(ctx context.Context, a *attacker, worker int) {
	return map[string]func(context.Context, *attacker, int){
		"oversized-http": func(ctx context.Context, a *attacker, worker int) { a.inTurn(ctx, worker, oversized()) },
		"malformed-http": func(ctx context.Context, a *attacker, worker int) { a.inTurn(ctx, worker, malformed()) },
		"guess-http1": func(ctx context.Context, a *attacker, _ int) {
			again(ctx, 0, func() {
				a.try(ctx, "http/1.1", get+"Authorization: Bearer "+random()+"\r\n\r\n")
			})
		},
	}
}

const get = "GET /v1/pullsecrets/puller?namespace=prod HTTP/1.1\r\nHost: quaygen\r\n"

// oversized are requests beyond every limit.
func oversized() []string {
	long := strings.Repeat("x", 1<<20)
	return []string{
		"GET /v1/pullsecrets/" + long[:8<<10] + "?namespace=prod HTTP/1.1\r\nHost: quaygen\r\n\r\n",
		get + "X: " + long[:64<<10] + "\r\n\r\n",
		"POST /v1/pullsecrets/puller HTTP/1.1\r\nHost: quaygen\r\nContent-Length: 1048576\r\n\r\n" + long,
		get + "Authorization: Bearer " + long[:15<<10] + "\r\n\r\n",
	}
}

// malformed are texts that are no requests; what begins with a zero is sent without TLS, and with two within, past it.
func malformed() []string {
	noise := make([]byte, 4<<10)
	_, _ = rand.Read(noise) // never fails
	return []string{
		"\x00" + string(noise), // no record of TLS
		"\x00\x16\x03\x01\xff\xff" + string(noise),
		"\x00\x00\x17\x03\x03\x10\x00" + string(noise), // a record that nobody can have encrypted
		string(noise),
		"GET HTTP/1.1\r\n\r\n",
		"GET /v1/pullsecrets/%zz HTTP/1.1\r\nHost: quaygen\r\n\r\n",
		get + "no colon\r\n\r\n",
		get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/9.9\r\nHost: quaygen\r\n\r\n",
	}
}

func (a *attacker) inTurn(ctx context.Context, worker int, texts []string) {
	next := worker
	again(ctx, 0, func() {
		a.try(ctx, "http/1.1", texts[next%len(texts)])
		next++
	})
}

// try sends a text over a new connection, and counts what comes back.
func (a *attacker) try(ctx context.Context, protocol, text string) {
	a.tried.Add(1)
	plain, isPlain := strings.CutPrefix(text, "\x00")
	var c net.Conn
	var closed func()
	var err error
	if past, isPast := strings.CutPrefix(plain, "\x00"); isPast {
		secured, done, failed := a.secured(ctx, nil, a.HTTP, protocol)
		if failed != nil {
			return
		}
		c, closed, text = secured.NetConn(), done, past
	} else if isPlain {
		c, closed, err = a.dial(ctx, nil, a.HTTP)
		text = plain
	} else {
		c, closed, err = a.secured(ctx, nil, a.HTTP, protocol)
	}
	if err != nil {
		return
	}
	defer closed()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.WriteString(c, text) }() // the answer may come before all is written, and no more is read
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		if ctx.Err() == nil {
			a.outcome(ended(err))
		}
		return
	}
	_ = answer.Body.Close()
	a.outcome(answer.Status[:3])
}
