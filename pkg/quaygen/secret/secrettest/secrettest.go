// Package secrettest looks for secrets where none may be. It is for tests.
package secrettest

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// Reveals reports whether a secret can be read from a text: as it is, escaped in a URL, in hexadecimal digits, or anywhere
// within something in base64, such as "user:secret" in the header of a login. Either half is enough of one of 40 bytes or
// more, since texts are cut; of a shorter one no part is found.
func Reveals(text, secret string) bool {
	const long = 40
	if half := len(secret) / 2; len(secret) >= long {
		return reveals(text, secret[:half]) || reveals(text, secret[half:])
	}
	return secret != "" && reveals(text, secret)
}

func reveals(text, secret string) bool {
	for _, form := range forms(secret) {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func forms(secret string) []string {
	inHex := hex.EncodeToString([]byte(secret))
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), inHex, strings.ToUpper(inHex)}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			all = append(all, withinBase64(alphabet, before, secret))
		}
	}
	return all
}

// withinBase64 returns those characters that are the same whatever the bytes before and after the secret are; of the former
// there are a multiple of three, and before more.
func withinBase64(alphabet *base64.Encoding, before int, secret string) string {
	whole := strings.Repeat("x", before) + secret
	first := (8*before + 5) / 6 // of 6 bits each
	last := 8 * len(whole) / 6
	return alphabet.EncodeToString([]byte(whole))[first:last]
}
