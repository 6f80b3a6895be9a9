package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// flags are the command line.
type flags struct {
	listen       string
	tls          bool
	tlsCert      string
	tlsKey       string
	caOut        string
	tokenOut     string
	lastAccessed time.Duration
	control      bool
	doors        int
	json         bool
}

// run serves until ctx ends, which is success.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f flags
	cmd := &cobra.Command{
		Use:   "quaydev",
		Short: "A Quay in memory, on loopback, for demonstrations and tests",
		Long: "quaydev serves a Quay in memory: the organization myorg with the repositories my-app, backend-api and\n" +
			"worker-service, each with the image v1.2.3, the API that robot accounts are managed with, and a registry to\n" +
			"pull from. It prints its URL and an API token, and forgets everything when it ends.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(*cobra.Command, []string) error { return serve(ctx, f, stdout) },
	}
	cmd.SetArgs(append([]string{}, args...)) // nil would mean the arguments of the process
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	p := cmd.Flags()
	p.StringVar(&f.listen, "listen", "127.0.0.1:0", "`address` to listen on; loopback only")
	p.BoolVar(&f.tls, "tls", false, "serve HTTPS with a certificate of an authority made for the occasion (needs --ca-out)")
	p.StringVar(&f.tlsCert, "tls-cert", "", "serve HTTPS with the certificate in this `file`")
	p.StringVar(&f.tlsKey, "tls-key", "", "`file` of the key of --tls-cert")
	p.StringVar(&f.caOut, "ca-out", "", "write the certificate authority of --tls to this `file`")
	p.StringVar(&f.tokenOut, "token-out", "", "write the API token to this `file`, for its owner only, instead of printing it")
	p.DurationVar(&f.lastAccessed, "last-accessed-threshold", time.Minute, "how long a robot's last_accessed is not written again")
	p.BoolVar(&f.control, "control", false, "serve /quaydev/, where faults and people's actions are asked for")
	p.IntVar(&f.doors, "doors", 0, "listen on this many further ports, so that faults can be for the callers of one of them")
	p.BoolVar(&f.json, "json", false, "print one line of JSON")
	return cmd.ExecuteContext(ctx)
}

// check refuses flags that cannot go together.
func (f flags) check() error {
	switch {
	case (f.tlsCert == "") != (f.tlsKey == ""):
		return errors.New("--tls-cert and --tls-key need each other")
	case f.tls && f.tlsCert != "":
		return errors.New("--tls makes its own certificate: use it without --tls-cert and --tls-key")
	case f.tls && f.caOut == "":
		return errors.New("--tls needs --ca-out, or nobody could trust its certificate")
	case !f.tls && f.caOut != "":
		return errors.New("--ca-out goes with --tls")
	case f.doors < 0 || f.doors > 100:
		return fmt.Errorf("--doors %d: there can be up to 100", f.doors)
	case f.lastAccessed <= 0:
		return errors.New("--last-accessed-threshold must be more than nothing")
	}
	return nil
}

func serve(ctx context.Context, f flags, stdout io.Writer) error {
	if err := f.check(); err != nil {
		return err
	}
	listeners, err := f.listenAll(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	hosts := make([]string, len(listeners))
	for i, l := range listeners {
		hosts[i] = advertised(f.listen, l.Addr())
	}
	scheme, host := "http", hosts[0]
	if f.tls || f.tlsCert != "" {
		config, err := f.certificate(host)
		if err != nil {
			return err
		}
		scheme = "https"
		for i, l := range listeners {
			listeners[i] = tls.NewListener(l, config)
		}
	}

	quay := quaytest.New(quaytest.Options{Scheme: scheme, Hostname: host, LastAccessedThreshold: f.lastAccessed})
	started := seed(quay)
	started.URL, started.CAFile = scheme+"://"+host, f.caOut
	for _, door := range hosts[1:] {
		started.Doors = append(started.Doors, scheme+"://"+door)
	}
	if f.tokenOut != "" {
		if err := writeFile(f.tokenOut, []byte(started.Token), 0o600); err != nil {
			return fmt.Errorf("writing the API token: %w", err)
		}
		started.Token, started.TokenFile = "", f.tokenOut
	}
	handler := http.Handler(quay)
	if f.control {
		handler = newControl(quay, host, f.tokenOut)
	}
	if err := started.print(stdout, f.json); err != nil {
		return err
	}
	return serveUntil(ctx, listeners, handler)
}

// listenAll listens where Quay is, and on the ports of its doors.
func (f flags) listenAll(ctx context.Context) ([]net.Listener, error) {
	first, err := listenOnLoopback(ctx, f.listen)
	if err != nil {
		return nil, err
	}
	listeners := []net.Listener{first}
	name, _, _ := net.SplitHostPort(f.listen)
	for range f.doors {
		l, err := listenOnLoopback(ctx, net.JoinHostPort(name, "0"))
		if err != nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// serveUntil serves until ctx ends. Requests end with it, those that a fault holds included.
func serveUntil(ctx context.Context, listeners []net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		// Clients that leave in the middle of a handshake are no news.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	stopped := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { stopped <- server.Serve(l) }()
	}
	select {
	case err := <-stopped:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	for range listeners {
		if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
	}
	return nil
}

// started is what callers need to know.
type started struct {
	URL          string   `json:"url"`
	Doors        []string `json:"doors,omitempty"`
	Organization string   `json:"organization"`
	Token        string   `json:"token,omitempty"`
	TokenFile    string   `json:"token_file,omitempty"`
	CAFile       string   `json:"ca_file,omitempty"`
	images       []string // relative to the host
}

func (s started) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(s)
	}
	token := "API token     " + s.Token
	if s.TokenFile != "" {
		token = "API token in  " + s.TokenFile
	}
	text := fmt.Sprintf("Quay          %s\nOrganization  %s\n%s\n", s.URL, s.Organization, token)
	for _, door := range s.Doors {
		text += fmt.Sprintf("Door          %s\n", door)
	}
	if s.CAFile != "" {
		text += fmt.Sprintf("Authority in  %s\n", s.CAFile)
	}
	for _, image := range s.images {
		text += fmt.Sprintf("Image         %s\n", image)
	}
	_, err := io.WriteString(w, text)
	return err
}
