package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// Set with -ldflags -X by those who build from an archive, where the Go command finds no commit to record. Whatever is
// set wins over the Go command's own record.
var (
	version string // v1.2.3
	commit  string
	date    string // of the commit, or of the build, in RFC 3339
)

// build says what runs. Nothing in it is guessed.
type build struct {
	Version  string // the tag, or the Go command's version for a commit without one; "devel" where neither is known
	Commit   string // empty: unknown; ends in "-dirty" where files differed from it
	Date     string // of the commit, so that two builds of it are the same; empty: unknown
	Go       string
	Platform string
}

// currentBuild describes the running program.
func currentBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info, version, commit, date)
}

// buildOf describes the program that the Go command recorded in info, but for what the linker was given.
func buildOf(info *debug.BuildInfo, version, commit, date string) build {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	b := build{Version: version, Commit: commit, Date: date, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	if b.Commit == "" {
		b.Commit = settings["vcs.revision"]
		if b.Commit != "" && settings["vcs.modified"] == "true" {
			b.Commit += "-dirty"
		}
	}
	if b.Date == "" {
		b.Date = settings["vcs.time"]
	}
	return b
}

// String is one line for people, without a new line.
func (b build) String() string {
	return fmt.Sprintf("%s, commit %s, date %s, %s, %s", b.Version, orUnknown(b.Commit), orUnknown(b.Date), b.Go, b.Platform)
}

// userAgent names the program to the servers that it calls.
func (b build) userAgent() string {
	return "quaygen/" + b.Version
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and date of this program; also --version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return printVersion(c.OutOrStdout())
		},
	}
}

// printVersion prints what --version prints.
func printVersion(w io.Writer) error {
	_, err := fmt.Fprintln(w, "generator version", currentBuild())
	return err
}

// buildInfo is the metric that says what runs.
func buildInfo() prometheus.Collector {
	b := currentBuild()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "quaygen_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": orUnknown(b.Commit), "goversion": b.Go},
	}, func() float64 { return 1 })
}
