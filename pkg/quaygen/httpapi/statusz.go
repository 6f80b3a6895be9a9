package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"
)

// Status is what the status page shows, in words for people. There is no secret in it: the page is for whoever reaches the
// administrator's port.
type Status struct {
	Title  string
	Facts  []Fact
	Robots []RobotStatus // those that need a look come first
	More   int           // robots beyond these
}

// Fact is one thing to know about the process.
type Fact struct{ Name, Value string }

// Mood says how good or bad something is; it is the name of a colour of the page.
type Mood string

// The moods. The zero value is none of them: it is neither good nor bad.
const (
	Good    Mood = "good"
	Passing Mood = "passing"
	Bad     Mood = "bad"
)

// RobotStatus is a line about a robot, and what belongs to it.
type RobotStatus struct {
	Name, Namespace, Strategy string
	Registry, Base            string // where it is, and the user name that its generations' begin with
	Served, Age, Next, Listed string // the generation, how old it is, when the next rotation is, when Quay was listed last
	State                     string
	Mood                      Mood
	Generations               []GenerationStatus // newest first
	Notes                     []string
}

// GenerationStatus is a line about a generation.
type GenerationStatus struct {
	Robot       string // its user name
	State, Note string
	Age, Used   string // how old it is, and when it was used last, if Quay tells
	Mood        Mood
}

var (
	//go:embed statusz.html
	statusHTML string
	//go:embed statusz.css
	statusCSS string

	statusPage = template.Must(template.New("statusz").Parse(strings.Replace(statusHTML, "CSS", statusCSS, 1)))

	// statusPolicy lets a browser use the page's own style sheet, and do nothing else: no scripts, no requests, no frames.
	statusPolicy = "default-src 'none'; style-src 'sha256-" + styleHash() + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

func styleHash() string {
	sum := sha256.Sum256([]byte(statusCSS))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// serveStatus answers with the status page.
func serveStatus(w http.ResponseWriter, status Status, checks []Check) {
	var page bytes.Buffer
	err := statusPage.Execute(&page, struct {
		Status
		Checks []Check
	}{status, checks})
	if err != nil { // the template asks for something that is not there: a test would have seen it
		plain(w, http.StatusInternalServerError, "the status page cannot be made\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", statusPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(page.Bytes()) // the reader went away: nothing to tell him
}
