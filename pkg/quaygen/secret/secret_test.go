package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

const token = "S3CRETS3CRETS3CRETS3CRET"

func TestNoWayOfPrintingRevealsTheSecret(t *testing.T) {
	s := secret.New(token)
	wrapped := struct {
		S secret.String
		P *secret.String
		M map[string]secret.String
		L []secret.String
	}{s, &s, map[string]secret.String{"k": s}, []secret.String{s}}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10v", "%p"} {
		for _, value := range []any{s, &s, wrapped, &wrapped, []any{s}} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	fmt.Fprintln(&out, s, wrapped, fmt.Errorf("with %v", s))
	for _, value := range []any{s, &s, wrapped} {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	if err := xml.NewEncoder(&out).Encode(s); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "s", s, "w", wrapped)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "s", s, "w", wrapped)

	for _, form := range []string{token, fmt.Sprintf("%x", token), fmt.Sprintf("%X", token), fmt.Sprintf("%d", []byte(token))} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the secret got out as %q", form)
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was printed at all")
	}
}

func TestRevealAndEqual(t *testing.T) {
	a, b := secret.New(token), secret.New(token)
	if a.Reveal() != token || !a.Equal(b) || a.Equal(secret.New(token[1:])) || a.Equal(secret.String{}) {
		t.Error("Reveal or Equal is wrong")
	}
	if !(secret.String{}).IsZero() || a.IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestFingerprintIdentifiesWithoutRevealing(t *testing.T) {
	a := secret.New(token).Fingerprint()
	if len(a) != 12 || a != secret.New(token).Fingerprint() || a == secret.New(token+"x").Fingerprint() {
		t.Errorf("fingerprint %q", a)
	}
	if got := (secret.String{}).Fingerprint(); got != "" {
		t.Errorf("fingerprint of nothing is %q", got)
	}
}

func TestUnmarshalReadsAStringAndQuotesNothingInErrors(t *testing.T) {
	var v struct{ Token secret.String }
	if err := json.Unmarshal([]byte(`{"token":"`+token+`"}`), &v); err != nil || v.Token.Reveal() != token {
		t.Errorf("got %q, %v", v.Token.Reveal(), err)
	}
	err := json.Unmarshal([]byte(`{"token":["`+token+`"]}`), &v)
	if err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("error %v", err)
	}
}
