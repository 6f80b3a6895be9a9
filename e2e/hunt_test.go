package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/secret/secrettest"
)

// known collects what no process may ever write into its log, over all stories.
var known credentials

type credentials struct {
	sync.Mutex
	values       map[string]string // credential → what it is
	fingerprints map[string]string // fingerprint of a robot's token → the robot
}

// credential remembers a credential that a story has seen.
func (c *credentials) credential(what, value string) {
	c.Lock()
	defer c.Unlock()
	if c.values == nil {
		c.values = map[string]string{}
	}
	c.values[value] = what
}

// fingerprint remembers a credential that Quay made and no story has seen.
func (c *credentials) fingerprint(what, fingerprint string) {
	c.Lock()
	defer c.Unlock()
	if c.fingerprints == nil {
		c.fingerprints = map[string]string{}
	}
	c.fingerprints[fingerprint] = what
}

// tokenShape finds whatever could be a robot's token: 64 capitals and digits.
var tokenShape = regexp.MustCompile(`[A-Z0-9]{40,}`)

// base64Shape finds what could hold such a token in base64.
var base64Shape = regexp.MustCompile(`[A-Za-z0-9+/]{54,}`)

// hunt reads every log below dir, of all parts and all stories.
func (c *credentials) hunt(dir string) error {
	c.Lock()
	defer c.Unlock()
	var found []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".log" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, what := range c.in(string(content)) {
			found = append(found, fmt.Errorf("%s holds %s", path, what))
		}
		return nil
	})
	return errors.Join(append(found, err)...)
}

// in returns what of the credentials is in a text, in whatever form. Those that no story has seen are found as they are,
// or as what is in something in base64.
func (c *credentials) in(text string) []string {
	var found []string
	for value, what := range c.values {
		if secrettest.Reveals(text, value) {
			found = append(found, what)
		}
	}
	plain := []string{text}
	for _, encoded := range base64Shape.FindAllString(text, -1) {
		decoded, err := base64.RawStdEncoding.DecodeString(encoded[:len(encoded)-len(encoded)%4])
		if err == nil {
			plain = append(plain, string(decoded))
		}
	}
	for _, candidate := range tokenShape.FindAllString(strings.Join(plain, "\n"), -1) {
		sum := sha256.Sum256([]byte(candidate))
		if what, ok := c.fingerprints[hex.EncodeToString(sum[:])[:12]]; ok {
			found = append(found, what)
		}
	}
	return found
}

func TestTheHuntFindsWhatItIsFor(t *testing.T) {
	token := strings.Repeat("A1", 32)
	sum := sha256.Sum256([]byte(token))
	var c credentials
	c.credential("a bearer token", "some/bearer token")
	c.fingerprint("a robot's token", hex.EncodeToString(sum[:])[:12])
	for _, tt := range []struct {
		text string
		want int
	}{
		{"level=info msg=ready", 0},
		{"Authorization: Bearer some/bearer token", 1},
		{"token=some%2Fbearer+token", 1},
		{base64.StdEncoding.EncodeToString([]byte("some/bearer token")), 1},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("user:some/bearer token")), 1},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("myorg+k8s_puller_g1:"+token)), 1},
		{base64.StdEncoding.EncodeToString([]byte(`{"password":"` + token + `"}`)), 1},
		{`{"token":"` + token + `"}`, 1},
		{`{"token":"` + strings.Repeat("B2", 32) + `"}`, 0},
	} {
		if got := c.in(tt.text); len(got) != tt.want {
			t.Errorf("in(%q) = %v, want %d", tt.text, got, tt.want)
		}
	}
}
