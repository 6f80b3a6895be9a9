package secret

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// MinBearer is the fewest characters of a client's bearer token: what a 96-bit random value takes in base64.
	MinBearer = 16
	// MaxBearer is the most characters of a client's bearer token; longer ones are refused unread.
	MaxBearer = 4096
)

// MaxBearers is how many tokens of one client are valid at once: the one in use, and the one that is to replace it.
const MaxBearers = 2

// ParseBearer returns the bearer token that a file with this content holds; white space around it is not part of it. The
// error says what is wrong as the end of a sentence about the file, and nothing of the content.
func ParseBearer(content []byte) (String, error) {
	return parseBearer(strings.TrimSpace(string(content)))
}

// ParseBearers returns the bearer tokens that a file with this content holds, one on each line, up to [MaxBearers], each
// as [ParseBearer] reads it. Blank lines do not count. Which line comes first means nothing.
func ParseBearers(content []byte) ([]String, error) {
	var tokens []String
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		token, err := parseBearer(line)
		switch {
		case err != nil:
			return nil, err
		case len(tokens) == MaxBearers:
			return nil, fmt.Errorf("holds more than %d lines; remove tokens that nobody uses any more", MaxBearers)
		case slices.ContainsFunc(tokens, token.Equal):
			return nil, errors.New("holds the same token twice; remove one line")
		}
		tokens = append(tokens, token)
	}
	if len(tokens) == 0 {
		return nil, errEmpty
	}
	return tokens, nil
}

var errEmpty = errors.New("is empty")

func parseBearer(token string) (String, error) {
	switch {
	case token == "":
		return String{}, errEmpty
	case len(token) < MinBearer:
		return String{}, fmt.Errorf("holds a token of %d characters; fewer than %d can be guessed: write one with \"openssl rand -hex 32\"", len(token), MinBearer)
	case len(token) > MaxBearer:
		return String{}, fmt.Errorf("holds more than %d characters", MaxBearer)
	case !IsBearer(token):
		return String{}, errors.New("holds characters that a bearer token cannot have; letters, digits and -._~+/ are allowed, then any number of \"=\"")
	}
	return New(token), nil
}

// IsBearer reports whether s is what RFC 6750 section 2.1 calls a b64token: letters, digits and -._~+/, then any number
// of "=".
func IsBearer(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
