package audit

import "strings"

// Type is what a record is about.
type Type string

// The types of records.
const (
	TypeOpen           Type = "open"
	TypeStart          Type = "start"
	TypeStop           Type = "stop"
	TypeConfiguration  Type = "configuration"
	TypeRequest        Type = "request"
	TypeAuthentication Type = "authentication"
	TypeOperation      Type = "operation"
	TypeEvent          Type = "event"
	TypeStep           Type = "step"
)

// Entry is what a record says, besides what all records say: one of the structs below. Every field of them is in every line,
// also an empty one. Texts of any length and form are allowed; they are clipped and escaped.
type Entry interface {
	kind() Type
	clip() // bounds the texts; what waits to be written must not hold on to whole requests
}

// opened says that a process begins to write here; it writes it itself.
type opened struct {
	Continues string `json:"continues"` // continuesNothing and so on
	Torn      string `json:"torn"`      // SHA-256 of the bytes between the line that prev means and this one; "": there are none
}

// What the record that begins a file, or a process' part of it, goes on from.
const (
	continuesNothing = "nothing" // a new chain
	continuesFile    = "file"    // the line before it, written by another process
	continuesProcess = "process" // this process' last line, in the file before
)

// Start is the start of a process.
type Start struct {
	Version  string `json:"version"`
	Instance string `json:"instance"`
}

// Stop is its end, in good order or not.
type Stop struct {
	Reason string `json:"reason"`
}

// Configuration is a configuration that was put to use, or was not because something is wrong with it.
type Configuration struct {
	Digest string `json:"digest"` // of the one in use from now on
	Result string `json:"result"` // ResultOK or ResultInvalid
	Reason string `json:"reason"` // what is wrong
}

// Results that have no row in the table of errors of package quaygen, whose reasons are the others.
const (
	ResultOK      = "OK"
	ResultStarted = "STARTED" // an order was taken on; another record says what became of it
	ResultInvalid = "INVALID_CONFIGURATION"
)

// Request is a request for a pull secret.
type Request struct {
	Client      string       `json:"client"`  // its name in the configuration
	Account     string       `json:"account"` // the ServiceAccount, with its namespace, that it has proven to be; "": it has not
	How         string       `json:"how"`     // it was authenticated
	Transport   string       `json:"transport"`
	From        string       `json:"from"` // address and port
	Namespace   string       `json:"namespace"`
	Name        string       `json:"name"`
	Property    string       `json:"property"`
	Format      string       `json:"format"`
	Decision    string       `json:"decision"` // allowed, denied, no rule; "": none was needed
	Result      string       `json:"result"`
	Reason      string       `json:"reason"`
	Credentials []Credential `json:"credentials"` // what was handed out

	Crowd bool `json:"-"` // it is one of more than its client may send, and must not displace others
}

// Credential says which one was handed out.
type Credential struct {
	Robot      string `json:"robot"` // user name in Quay
	Registry   string `json:"registry"`
	Generation int64  `json:"generation"`
	Token      string `json:"token"` // its fingerprint
}

// Authentication is a caller who did not prove who it is.
type Authentication struct {
	Transport string `json:"transport"`
	From      string `json:"from"`
	Reason    string `json:"reason"`
}

// Operation is what an operator orders, or wants to see and may not.
type Operation struct {
	Client    string `json:"client"`
	How       string `json:"how"`
	Transport string `json:"transport"`
	From      string `json:"from"`
	Action    string `json:"action"`
	Name      string `json:"name"` // the robot's name in the configuration
	Namespace string `json:"namespace"`
	Through   int64  `json:"through"` // the last generation that it is about; -1: it says none
	Result    string `json:"result"`
	Reason    string `json:"reason"`
}

// Event is what happened to a robot, whoever did it.
type Event struct {
	Event        string `json:"event"`
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Registry     string `json:"registry"`
	Organization string `json:"organization"`
	Robot        string `json:"robot"`
	Generation   int64  `json:"generation"` // -1: it is about none
	Reason       string `json:"reason"`
}

// Step is what this process did in Quay, or wrote into the ledger.
type Step struct {
	Action       string `json:"action"`
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Registry     string `json:"registry"`
	Organization string `json:"organization"`
	Robot        string `json:"robot"`
	Generation   int64  `json:"generation"`
	Repository   string `json:"repository"`
	Role         string `json:"role"`
	Team         string `json:"team"`
	Token        string `json:"token"` // fingerprint
	Reason       string `json:"reason"`
}

func (*opened) kind() Type         { return TypeOpen }
func (*Start) kind() Type          { return TypeStart }
func (*Stop) kind() Type           { return TypeStop }
func (*Configuration) kind() Type  { return TypeConfiguration }
func (*Request) kind() Type        { return TypeRequest }
func (*Authentication) kind() Type { return TypeAuthentication }
func (*Operation) kind() Type      { return TypeOperation }
func (*Event) kind() Type          { return TypeEvent }
func (*Step) kind() Type           { return TypeStep }

func (*opened) clip()           {}
func (*Start) clip()            {}
func (e *Stop) clip()           { clip(&e.Reason) }
func (e *Configuration) clip()  { clip(&e.Reason) }
func (e *Authentication) clip() { clip(&e.From, &e.Reason) }
func (e *Operation) clip()      { clip(&e.From, &e.Name, &e.Namespace, &e.Reason) }
func (e *Event) clip()          { clip(&e.Reason) }
func (e *Step) clip()           { clip(&e.Reason) }

func (e *Request) clip() {
	clip(&e.From, &e.Namespace, &e.Name, &e.Property, &e.Format, &e.Reason)
	if e.Credentials == nil {
		e.Credentials = []Credential{} // a list in the line, too
	}
}

// maxText bounds a text that somebody can choose, in bytes before escaping: more than any name has.
const maxText = 256

func clip(texts ...*string) {
	for _, s := range texts {
		if len(*s) > maxText {
			*s = strings.ToValidUTF8((*s)[:maxText], "") + "..."
		}
	}
}
