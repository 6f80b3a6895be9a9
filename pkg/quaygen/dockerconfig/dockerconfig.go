// Package dockerconfig builds and parses the registry credentials of a pull secret: the content of
// ".dockerconfigjson" (Secret type kubernetes.io/dockerconfigjson) and of ".dockercfg" (kubernetes.io/dockercfg).
//
// An [Entry] is one credential with the scopes it is for. Each scope becomes one key: a registry host, or a host with
// a path below it. [Scope] chooses the paths when several credentials share a host.
//
// What the package writes is canonical: equal entries give equal bytes, whatever their order. What it parses is what
// it could have written, up to order, spacing and optional fields; it is no reader for a workstation's configuration,
// with its credential helpers and identity tokens.
//
// Errors name hosts and user names, never a password.
package dockerconfig

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// MaxSize is the most bytes that are written or parsed: what Kubernetes accepts as the content of a Secret.
const MaxSize = 1 << 20

// Errors of this package wrap one of these.
var (
	ErrInvalid   = errors.New("invalid registry credentials")
	ErrDuplicate = errors.New("two credentials for the same scope")
	ErrTooLarge  = errors.New("registry credentials exceed what a Kubernetes Secret holds")
)

// Entry is one credential.
type Entry struct {
	Host     string        // as image names spell it, with the port if they name one: "quay.io", "quay.example.com:8443"
	Username string        // without ':', which separates it from the password in basic authentication
	Password secret.String // required
	Email    string        // optional; nobody reads it, but some keep it for the record

	// Paths are the scopes below Host, as image names go on after it: "myorg", "myorg/my-app". Each stands for
	// itself and everything below. None: the whole host.
	Paths []string

	// Wider is for [Scope] alone: the robot may pull more of its organization than Paths say, and nobody knows what.
	// So it is with what a team of the robot may pull.
	Wider bool
}

// keys returns what the entry is filed under.
func (e Entry) keys() []string {
	if len(e.Paths) == 0 {
		return []string{e.Host}
	}
	keys := make([]string, len(e.Paths))
	for i, path := range e.Paths {
		keys[i] = e.Host + "/" + path
	}
	return keys
}

// sameCredential reports whether e and f differ in nothing but what they are for.
func (e Entry) sameCredential(f Entry) bool {
	return e.Host == f.Host && e.Username == f.Username && e.Email == f.Email && e.Password.Equal(f.Password)
}

// compareEntries orders by host, then by the first path, whole hosts first.
func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), slices.Compare(a.Paths, b.Paths))
}

func (e Entry) check() error {
	if err := CheckHost(e.Host); err != nil {
		return fmt.Errorf("%w: registry host %q %w", ErrInvalid, clip(e.Host), err)
	}
	switch {
	case e.Username == "":
		return fmt.Errorf("%w: the credential for %s has no user name", ErrInvalid, e.Host)
	case strings.Contains(e.Username, ":") || !clean(e.Username):
		return fmt.Errorf("%w: the user name for %s has a ':', a control character or invalid UTF-8", ErrInvalid, e.Host)
	case e.Password.IsZero():
		return fmt.Errorf("%w: the credential of %s for %s has no password", ErrInvalid, clip(e.Username), e.Host)
	case !clean(e.Password.Reveal()):
		return fmt.Errorf("%w: the password of %s for %s has a control character or invalid UTF-8", ErrInvalid, clip(e.Username), e.Host)
	case !clean(e.Email):
		return fmt.Errorf("%w: the e-mail address of %s for %s has a control character or invalid UTF-8", ErrInvalid, clip(e.Username), e.Host)
	}
	for _, path := range e.Paths {
		if err := checkPath(e.Host, path); err != nil {
			return err
		}
	}
	return nil
}

// clean reports whether s comes through JSON and basic authentication (RFC 7617 section 2) as it is. U+FFFD is what a
// JSON decoder puts in the place of something that could not be decoded.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// No globs: the kubelet would read "*", "?" and "[" in a host as such.
var hostRE = regexp.MustCompile(`\A[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\z`)

const maxHost = 253 // characters of a DNS name

// What [CheckHost] says.
var (
	errPort     = errors.New("must end in a port of 1 to 65535")
	errIPv6     = errors.New("is no IPv6 address in brackets")
	errBareIPv6 = errors.New("is an IPv6 address without a port, which the kubelet never matches")
	errHost     = errors.New("is no host name with an optional port; no scheme, no path")
)

// CheckHost says what is wrong with a host as image names begin with it. Good are a DNS name, an IPv4 address and an IPv6
// address in brackets, each with an optional port. A bare IPv6 address in brackets is refused: without a port the kubelet
// takes the brackets for a character class.
func CheckHost(host string) error {
	name, port, hasPort := host, "", false
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port, hasPort = host[:i], host[i+1:], true
	}
	if hasPort {
		// Compared as text by every client: "0443" would be another port than "443".
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return errPort
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		address, err := netip.ParseAddr(inner)
		switch {
		case !ok || err != nil || !address.Is6() || address.Zone() != "":
			return errIPv6
		case !hasPort:
			return errBareIPv6
		}
		return nil
	}
	if len(name) > maxHost || !hostRE.MatchString(name) {
		return errHost
	}
	return nil
}

// Quay's rule for one segment of a repository name (docs/quay-contract.md 3.4), which those for organizations imply.
var segmentRE = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]*\z`)

const maxPath = 512 // bytes; Quay allows 255 for the organization and 255 for the repository

func checkPath(host, path string) error {
	invalid := func(why string) error {
		return fmt.Errorf("%w: scope %q below %s %s", ErrInvalid, clip(path), host, why)
	}
	if len(path) > maxPath {
		return invalid("is too long")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if !segmentRE.MatchString(segment) {
			return invalid("must be an organization or repository in lower case, without leading or trailing '/'")
		}
	}
	if strings.HasPrefix(path, "v1/") || strings.HasPrefix(path, "v2/") {
		return invalid("starts with an API version, which the kubelet cuts off; only the organization as a whole can be named")
	}
	return nil
}

func clip(s string) string {
	const longest = 80
	if len(s) > longest {
		return s[:longest] + "..."
	}
	return s
}
