package dockerconfig_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/dockerconfig"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

func TestParseAcceptsOtherSpellings(t *testing.T) {
	for what, data := range map[string]string{
		"spacing":               ` { "auths" : { "quay.io" : { "auth":"dTpw", "password":"p", "username":"u" } } } ` + "\n",
		"auth alone":            `{"auths":{"quay.io":{"auth":"dTpw"}}}`,
		"user and password":     `{"auths":{"quay.io":{"username":"u","password":"p"}}}`,
		"escapes":               `{"auths":{"quay\u002eio":{"username":"\u0075","password":"p","email":""}}}`,
		"empty auth is no auth": `{"auths":{"quay.io":{"username":"u","password":"p","auth":""}}}`,
	} {
		got, err := dockerconfig.Parse([]byte(data))
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if d := diff([]dockerconfig.Entry{entry("quay.io", "u", "p")}, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	padded, err := dockerconfig.Parse([]byte(`{"auths":{"quay.io":{"auth":"dTpwYQ=="}}}`))
	bare, err2 := dockerconfig.Parse([]byte(`{"auths":{"quay.io":{"auth":"dTpwYQ"}}}`))
	if d := diff(padded, bare); d != "" || err != nil || err2 != nil {
		t.Error(err, err2, d)
	}
	if got, err := dockerconfig.Parse([]byte(`{"auths":{}}`)); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
}

func TestParseJoinsTheKeysOfOneCredential(t *testing.T) {
	got, err := dockerconfig.Parse([]byte(`{"auths":{"h/b":{"auth":"dTpw"},"h":{"auth":"dTpw"},"h/a/x":{"auth":"dTpw"},"h/c":{"auth":"dTpx"},"i/a":{"auth":"dTpw"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []dockerconfig.Entry{
		{Host: "h", Username: "u", Password: secret.New("p")},
		entry("h", "u", "p", "a/x", "b"),
		entry("h", "u", "q", "c"),
		entry("i", "u", "p", "a"),
	}
	if d := diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	const token = "S3CRETS3CRET"
	inAuths := func(s string) string { return `{"auths":{` + s + `}}` }
	for what, data := range map[string]string{
		"nothing":                 "",
		"null":                    "null",
		"array":                   "[]",
		"text":                    `"auths"`,
		"no auths":                `{}`,
		"auths null":              `{"auths":null}`,
		"auths array":             `{"auths":[]}`,
		"other case":              `{"Auths":{"quay.io":{"auth":"dTpw"}}}`,
		"helpers":                 `{"auths":{},"credsStore":"pass"}`,
		"auths twice":             `{"auths":{},"auths":{"quay.io":{"auth":"dTpw"}}}`,
		"cut off":                 `{"auths":{"quay.io":{"auth":"dTpw"`,
		"second document":         `{"auths":{}}{}`,
		"garbage behind":          `{"auths":{}}` + token,
		"key twice":               inAuths(`"h":{"auth":"dTpw"},"h":{"auth":"dTpw"}`),
		"key twice by escape":     inAuths(`"h":{"auth":"dTpw"},"\u0068":{"auth":"dTpw"}`),
		"field twice":             inAuths(`"h":{"username":"u","username":"v","password":"p"}`),
		"credential null":         inAuths(`"h":null`),
		"credential text":         inAuths(`"h":"` + token + `"`),
		"empty credential":        inAuths(`"h":{}`),
		"identity token":          inAuths(`"h":{"auth":"dTpw","identitytoken":"` + token + `"}`),
		"number":                  inAuths(`"h":{"username":"u","password":12345678}`),
		"nested":                  inAuths(`"h":{"username":"u","password":{"a":"` + token + `"}}`),
		"null password":           inAuths(`"h":{"username":"u","password":null}`),
		"no password":             inAuths(`"h":{"username":"u"}`),
		"no user":                 inAuths(`"h":{"password":"` + token + `"}`),
		"contradiction: user":     inAuths(`"h":{"username":"v","auth":"dTpw"}`),
		"contradiction: password": inAuths(`"h":{"password":"` + token + `","auth":"dTpw"}`),
		"auth without colon":      inAuths(`"h":{"auth":"dXA="}`),
		"auth without password":   inAuths(`"h":{"auth":"dTo="}`),
		"auth without user":       inAuths(`"h":{"auth":"OnA="}`),
		"auth is no base64":       inAuths(`"h":{"auth":"u:` + token + `"}`),
		"auth with line end":      inAuths(`"h":{"auth":"dT\npw"}`),
		"auth with stray bits":    inAuths(`"h":{"auth":"dTpwYR=="}`),
		"auth with wrong padding": inAuths(`"h":{"auth":"dTpwYQ="}`),
		"auth with bad UTF-8":     inAuths(`"h":{"auth":"dTr/"}`),
		"lone surrogate":          inAuths(`"h":{"username":"u","password":"\ud800"}`),
		"bad UTF-8":               inAuths(`"h":{"username":"u","password":"` + "\xff" + `"}`),
		"scheme":                  inAuths(`"https://h":{"auth":"dTpw"}`),
		"default registry":        inAuths(`"https://index.docker.io/v1/":{"auth":"dTpw"}`),
		"trailing slash":          inAuths(`"h/org/":{"auth":"dTpw"}`),
		"glob":                    inAuths(`"*.h":{"auth":"dTpw"}`),
		"empty key":               inAuths(`"":{"auth":"dTpw"}`),
		"deep":                    strings.Repeat(`{"auths":`, 100_000),
	} {
		got, err := dockerconfig.Parse([]byte(data))
		if !errors.Is(err, dockerconfig.ErrInvalid) || got != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		} else if strings.Contains(err.Error(), token) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := dockerconfig.Parse(make([]byte, dockerconfig.MaxSize+1)); !errors.Is(err, dockerconfig.ErrTooLarge) {
		t.Error(err)
	}
}

func addGolden(f *testing.F, suffix string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*"+suffix))
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// What was parsed and written again is the same entries, and written once more the same bytes.
func FuzzWhatIsParsedSurvivesARoundTrip(f *testing.F) {
	addGolden(f, ".dockerconfigjson")
	f.Add([]byte(`{"auths":{"h/b":{"auth":"dTpw"},"h":{"auth":"dTpw"},"h/a/x":{"username":"u","password":"\u2028<"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := dockerconfig.Parse(data)
		if err != nil || len(entries) == 0 {
			return
		}
		encoded, err := dockerconfig.Encode(entries)
		if errors.Is(err, dockerconfig.ErrTooLarge) {
			return // "auth" was missing and is written
		} else if err != nil {
			t.Fatalf("parsed, but not to be written: %v", err)
		}
		again, err := dockerconfig.Parse(encoded)
		if err != nil {
			t.Fatalf("written, but not to be parsed: %v", err)
		}
		if d := diff(entries, again); d != "" {
			t.Fatalf("(-first +second)\n%s", d)
		}
		legacy, err := dockerconfig.EncodeLegacy(entries)
		if err != nil {
			t.Fatal(err)
		}
		if again, err = dockerconfig.ParseLegacy(legacy); err != nil || diff(entries, again) != "" {
			t.Fatalf("legacy: %v", err)
		}
		if twice, err := dockerconfig.Encode(again); err != nil || !bytes.Equal(encoded, twice) {
			t.Fatalf("%v\n%s\n%s", err, encoded, twice)
		}
	})
}

// Whatever credential is accepted comes back as it was: nothing is lost to JSON, base64 or the colon.
func FuzzWhatIsEncodedSurvivesARoundTrip(f *testing.F) {
	f.Add("quay.io", "org+robot", "S3CRET", "", "org")
	f.Add("h:443", "u", "a:b\"\\<>&\u2028", "e@x", "")
	f.Fuzz(func(t *testing.T, host, username, password, email, path string) {
		e := dockerconfig.Entry{Host: host, Username: username, Password: secret.New(password), Email: email}
		if path != "" {
			e.Paths = []string{path}
		}
		data, err := dockerconfig.Encode([]dockerconfig.Entry{e})
		if err != nil {
			return
		}
		got, err := dockerconfig.Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if d := diff([]dockerconfig.Entry{e}, got); d != "" {
			t.Fatal(d)
		}
	})
}
