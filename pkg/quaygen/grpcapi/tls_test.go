package grpcapi_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// issueServer replaces the server's certificate.
func (w *world) issueServer(t testing.TB, name string, by *certificatetest.Pair) {
	t.Helper()
	own := by.Issue(name, certificatetest.ForServers("server"))
	w.write(t, "tls.crt", string(own.CertPEM()))
	w.write(t, "tls.key", string(own.KeyPEM()))
}

// ESO's controller presents this name, and no other.
const controller = "external-secrets-controller"

func getSecret(t testing.TB, c *grpc.ClientConn) error {
	t.Helper()
	_, err := providerv1.NewSecretStoreProviderClient(c).GetSecret(t.Context(), &providerv1.GetSecretRequest{
		RemoteRef: &providerv1.ExternalSecretDataRemoteRef{Key: "puller"}, SourceNamespace: "prod-shop",
	})
	return err
}

func TestWhoGetsInByCertificateOrToken(t *testing.T) {
	w := onSockets(t)
	right := w.ca.Client(controller)
	turnedAway := codes.Unavailable // in the handshake
	for _, c := range []struct {
		what  string
		show  *tls.Certificate
		token string
		want  codes.Code
	}{
		{"the right certificate", right, "", codes.OK},
		{"a token instead", nil, "eso", codes.OK},
		{"both, of two clients", right, "eso", codes.Unauthenticated},
		{"neither", nil, "", codes.Unauthenticated},
		{"a token that nobody has", nil, "nobody", codes.Unauthenticated},
		{"the right certificate and a token that nobody has", right, "nobody", codes.OK},
		{"of another CA", certificatetest.Authority("CA").Client(controller), "", turnedAway},
		{"of another CA, with a good token", certificatetest.Authority("CA").Client(controller), "eso", turnedAway},
		{"expired", w.ca.Client(controller, certificatetest.Until(time.Now().Add(-time.Second))), "", turnedAway},
		{"not yet valid", w.ca.Client(controller, certificatetest.From(time.Now().Add(time.Hour))), "", turnedAway},
		{"for servers only", w.ca.Issue(controller, certificatetest.ForServers()).TLS(), "", turnedAway},
		{"of the right CA, but of no client", w.ca.Client("somebody"), "", codes.Unauthenticated},
		{"of the right CA, but of no client, with a good token", w.ca.Client("somebody"), "eso", codes.OK},
		{"the name in other letters", w.ca.Client(strings.ToUpper(controller)), "", codes.Unauthenticated},
	} {
		show := c.show
		if show == nil {
			show = &tls.Certificate{}
		}
		is(t, c.what, getSecret(t, w.connect(t, presenting(w.ca, show), c.token)), c.want)
	}
	if log := w.log.String(); strings.Contains(log, tokenTail) {
		t.Error("the log holds a bearer token")
	}
}

// Over an open connection nobody shakes hands again.
func TestACertificateThatExpiresDuringAConnectionIsRefusedFromThenOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := w.showing(t, w.ca.Client(controller, certificatetest.Until(time.Now().Add(2*time.Minute))))
		is(t, "while it is valid", getSecret(t, c), codes.OK)
		pass(time.Minute)
		is(t, "a minute before its end", getSecret(t, c), codes.OK)
		pass(time.Minute + time.Second)
		is(t, "after its end", getSecret(t, c), codes.Unauthenticated)
		if !strings.Contains(w.log.String(), "has expired at") {
			t.Error("the log does not say why")
		}
	})
}

func TestCertificatesAreReplacedUnderAnOpenWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		watching := w.watch(t, w.as(t, "viewer"), "")
		watching.listing(t)
		oldClient := w.ca.Client(controller)
		known := w.showing(t, oldClient)
		is(t, "before", getSecret(t, known), codes.OK)

		young := certificatetest.Authority("young CA")
		w.issueServer(t, "server", young)
		w.write(t, "ca.crt", string(young.CertPEM()))
		pass(2 * time.Second)
		w.revoke(t, "puller")
		if e := watching.event(t); e.GetType() != quaygenv1.EventType_EVENT_TYPE_PUBLISHED {
			t.Errorf("the open watch got %v", e)
		}
		is(t, "the open connection", getSecret(t, known), codes.OK)
		is(t, "new, with the new CA's certificate", getSecret(t, w.connect(t, presenting(young, young.Client(controller)), "")), codes.OK)
		is(t, "new, with the old CA's certificate", getSecret(t, w.connect(t, presenting(young, oldClient), "")), codes.Unavailable)
		is(t, "new, trusting the old CA", getSecret(t, w.connect(t, presenting(w.ca, young.Client(controller)), "")), codes.Unavailable)
	})
}

// The same on loopback, with the clock of the machine: the files are looked at once a second, so that new connections are
// made until one is shown the new certificate.
func TestCertificatesAreReplacedUnderAnOpenWatchOnASocket(t *testing.T) {
	w := onSockets(t)
	watching := w.watch(t, w.as(t, "viewer"), "")
	watching.listing(t)
	oldClient := w.ca.Client(controller)
	known := w.showing(t, oldClient)
	is(t, "before", getSecret(t, known), codes.OK)

	young := certificatetest.Authority("young CA")
	w.issueServer(t, "server", young)
	w.write(t, "ca.crt", string(young.CertPEM()))
	fresh := young.Client(controller)
	for end := time.Now().Add(30 * time.Second); getSecret(t, w.connect(t, presenting(young, fresh), "")) != nil; {
		if time.Now().After(end) {
			t.Fatal("the new certificate and CA are not taken up")
		}
	}
	is(t, "the open connection", getSecret(t, known), codes.OK)
	is(t, "new, with the old CA's certificate", getSecret(t, w.connect(t, presenting(young, oldClient), "")), codes.Unavailable)
	is(t, "new, trusting the old CA", getSecret(t, w.connect(t, presenting(w.ca, fresh), "")), codes.Unavailable)

	w.engine.Apply(w.robots[:1])
	for e := watching.event(t); e.GetType() != quaygenv1.EventType_EVENT_TYPE_REMOVED; e = watching.event(t) {
		if e.GetType() != quaygenv1.EventType_EVENT_TYPE_PUBLISHED {
			t.Fatalf("the open watch got %v", e)
		}
	}
}

func TestPlaintextAndTLSDoNotMix(t *testing.T) {
	secure, plain := onSockets(t), onSockets(t, func(c *grpcapi.Config) { c.TLS = nil })
	overTLS := credentials.NewTLS(&tls.Config{RootCAs: secure.ca.Pool(), ServerName: "server"})
	to := func(w *world, c credentials.TransportCredentials) error { return getSecret(t, w.with(t, c, "eso")) }
	is(t, "TLS to TLS", to(secure, overTLS), codes.OK)
	is(t, "plaintext to TLS", to(secure, insecure.NewCredentials()), codes.Unavailable)
	is(t, "TLS to plaintext", to(plain, overTLS), codes.Unavailable)
	is(t, "plaintext to plaintext", to(plain, insecure.NewCredentials()), codes.OK)
}
