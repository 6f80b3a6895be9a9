package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// fileKind is what a file that the configuration names must hold.
type fileKind int

const (
	tokenFile       fileKind = iota + 1 // Quay's
	clientTokenFile                     // ours
	certificates
	clientCAs
	privateKey
)

// fileRef is one mention of a file.
type fileRef struct {
	path string // in the configuration
	name string // in the file system
	kind fileKind
}

var pathRE = regexp.MustCompile(`\A(?:/|\./|\.\./).*[^/]\z`)

// file reads the path of a file; relative ones start from the directory of the configuration. What does not look like
// a path is not quoted: it could be the secret itself, written into the wrong place.
func (v value) file(kind fileKind) string {
	name := v.newFile()
	if name != "" {
		v.d.files = append(v.d.files, fileRef{v.path, name, kind})
	}
	return name
}

// newFile reads the path of a file that need not exist.
func (v value) newFile() string {
	s := v.str()
	if s == "" {
		return ""
	}
	if !pathRE.MatchString(s) {
		v.fail("must be the path of a file: from the root (/...) or from this file's directory (./...); the value is not repeated here because it could be the secret itself")
		return ""
	}
	name := s
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(v.d.file), name)
	}
	return name
}

// maxFile is more than any token, certificate chain or bundle of a working installation has.
const maxFile = 1 << 20

// checkFiles reports the files that are missing, unreadable, empty or evidently something else. Whether a token is
// accepted, only Quay can tell.
func (d *decoder) checkFiles() {
	content := make(map[string][]byte)
	clients := make(map[string]fileRef) // the first mention, by token
	for _, ref := range d.files {
		data, err := readFile(ref.name)
		if err != nil {
			d.fail(ref.path, "%q %s", ref.name, fileFault(err))
			continue
		}
		if fault := contentFault(ref.kind, data); fault != "" {
			d.fail(ref.path, "%q %s", ref.name, fault)
			continue
		}
		content[ref.path] = data
		if ref.kind != clientTokenFile {
			continue
		}
		d.checkClientTokens(ref, data, clients)
	}
	for _, path := range []string{"server.tls", "server.grpc.tls", "tracing.otlp"} {
		cert, key := content[path+".certFile"], content[path+".keyFile"]
		if cert == nil || key == nil {
			continue
		}
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			d.fail(path+".keyFile", "is not the key of %s.certFile: %v", path, err)
		}
	}
}

// checkClientTokens looks at each token of a client's file. In clients is the first mention of each, by token.
func (d *decoder) checkClientTokens(ref fileRef, data []byte, clients map[string]fileRef) {
	tokens, err := secret.ParseBearers(data)
	if err != nil {
		d.fail(ref.path, "%q %v", ref.name, err)
		return
	}
	for _, token := range tokens {
		first, taken := clients[token.Reveal()]
		switch {
		case taken && first.name == ref.name: // said already, of the configuration alone
		case taken:
			d.fail(ref.path, "%q holds the same token as the file of %s: nobody could tell the two clients apart; give each a token of its own", ref.name, first.path)
			return
		default:
			clients[token.Reveal()] = ref
		}
	}
}

var (
	errNotRegular = errors.New("is not a regular file; write the path of one")
	errLarge      = errors.New("is larger than a mebibyte; that is not the file that is meant")
)

// readFile reads a file that must be regular: opening a pipe could wait forever.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, errLarge
	}
	return data, nil
}

func fileFault(err error) string {
	switch {
	case errors.Is(err, errNotRegular), errors.Is(err, errLarge):
		return err.Error()
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist; create the file or correct the path"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this process; correct the file's owner or mode"
	}
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err // the name is in the message already
	}
	return "cannot be read: " + err.Error()
}

// contentFault says what is wrong with a file's content without a word of it.
func contentFault(kind fileKind, data []byte) string {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "is empty"
	case kind == certificates && !x509.NewCertPool().AppendCertsFromPEM(data):
		return "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
	case kind == privateKey && !bytes.Contains(data, []byte("PRIVATE KEY-----")):
		return "holds no private key in PEM form (-----BEGIN ... PRIVATE KEY-----)"
	case kind == clientCAs:
		if err := certificate.CheckAuthority(data); err != nil {
			return "cannot be used: " + err.Error()
		}
	}
	return ""
}
