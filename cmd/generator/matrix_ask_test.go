package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/quaygen/quaygen/pkg/quaygen"
	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// ask sends a request, and returns what comes of it, and the user names in the credentials.
func (m *matrix) ask(r matrixRequest) (outcome string, users []string) {
	m.t.Helper()
	way, how, _ := strings.Cut(r.way, " ")
	var data map[string]string
	if way == "HTTP" {
		outcome, data = m.overHTTP(r, how == "certificate")
	} else {
		values, err := m.overGRPC(r, how)
		outcome, data = granted, map[string]string{}
		if err != nil {
			fmt.Fprintln(&m.said, err)
			return kindOf(err).String(), nil
		}
		for key, value := range values {
			data[key] = string(value)
		}
	}
	if outcome != granted {
		return outcome, nil
	}
	return outcome, usersIn(m.t, r, data)
}

// usersIn returns the user names that the data holds in the format that was asked for.
func usersIn(t *testing.T, r matrixRequest, data map[string]string) (users []string) {
	t.Helper()
	type entry struct{ Username string }
	var file struct{ Auths map[string]entry }
	switch r.format {
	case "basic":
		return []string{data["username"]}
	case "dockercfg":
		file.Auths = map[string]entry{}
		if err := json.Unmarshal([]byte(data[".dockercfg"]), &file.Auths); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	default:
		if err := json.Unmarshal([]byte(data[".dockerconfigjson"]), &file); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, e := range file.Auths {
		users = append(users, e.Username)
	}
	return users
}

func (m *matrix) overHTTP(r matrixRequest, certificate bool) (outcome string, data map[string]string) {
	m.t.Helper()
	key := r.way + r.client
	if m.https[key] == nil {
		c := &tls.Config{RootCAs: m.roots}
		if certificate {
			c.Certificates = []tls.Certificate{*m.show[r.client]}
		}
		m.https[key] = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: c}}
	}
	query := url.Values{}
	if r.namespace != "" {
		query.Set("namespace", r.namespace)
	}
	if r.format != "" {
		query.Set("format", r.format)
	}
	request, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "https://"+m.http+"/v1/pullsecrets/"+url.PathEscape(r.name)+"?"+query.Encode(), http.NoBody)
	if err != nil {
		m.t.Fatal(err)
	}
	if !certificate {
		request.Header.Set("Authorization", "Bearer "+m.bearer(r))
	}
	response, err := m.https[key].Do(request)
	if err != nil {
		m.t.Fatalf("%v: %v", r, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	var answer struct{ Data map[string]string }
	if response.StatusCode != http.StatusOK {
		fmt.Fprintf(&m.said, "%v %s\n", response.Header, body)
		if bytes.Contains(body, []byte("k8s_")) {
			m.t.Errorf("%v: a refusal that names a robot: %s", r, body)
		}
		for _, kind := range quaygen.Kinds() {
			if kind.Row().HTTP == response.StatusCode {
				return kind.String(), nil
			}
		}
		return response.Status, nil
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		m.t.Fatal(err)
	}
	return granted, answer.Data
}

type matrixBearer string

func (b matrixBearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (matrixBearer) RequireTransportSecurity() bool { return true }

// conn is the connection of a client. ESO's ways in go by certificate.
func (m *matrix) conn(client string, bearer bool) *grpc.ClientConn {
	m.t.Helper()
	key := fmt.Sprint(client, bearer)
	if m.conns[key] == nil {
		c := &tls.Config{RootCAs: m.roots}
		var options []grpc.DialOption
		if bearer {
			options = append(options, grpc.WithPerRPCCredentials(matrixBearer(matrixToken(client))))
		} else if client != "" {
			c.Certificates = []tls.Certificate{*m.show[client]}
		}
		conn, err := grpc.NewClient(m.grpc, append(options, grpc.WithTransportCredentials(credentials.NewTLS(c)))...)
		if err != nil {
			m.t.Fatal(err)
		}
		m.conns[key] = conn
	}
	return m.conns[key]
}

func (m *matrix) overGRPC(r matrixRequest, how string) (map[string][]byte, error) {
	m.t.Helper()
	ctx := m.t.Context()
	if r.byAccount() { // each call with a token of its own, over the connection of nobody
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+m.bearer(r))
	}
	conn := m.conn(r.client, how == "bearer")
	switch how {
	case "provider":
		property := map[string]string{"basic": "username", "dockercfg": ".dockercfg", "dockerconfigjson": ".dockerconfigjson"}[r.format]
		answer, err := providerv1.NewSecretStoreProviderClient(conn).GetSecretMap(ctx, &providerv1.GetSecretMapRequest{
			ProviderRef: &providerv1.ProviderReference{StoreRefKind: "SecretStore", Namespace: r.reference}, SourceNamespace: r.namespace,
			RemoteRef: &providerv1.ExternalSecretDataRemoteRef{Key: r.name, Property: property},
		})
		return answer.GetSecrets(), err
	case "generator":
		answer, err := generatorv1.NewGeneratorProviderClient(conn).Generate(ctx, &generatorv1.GenerateRequest{
			GeneratorRef: &generatorv1.GeneratorRef{Name: r.name, Namespace: r.reference}, SourceNamespace: r.namespace,
		})
		return answer.GetSecrets(), err
	}
	format := map[string]quaygenv1.Format{
		"dockerconfigjson": quaygenv1.Format_FORMAT_DOCKERCONFIGJSON, "basic": quaygenv1.Format_FORMAT_BASIC, "dockercfg": quaygenv1.Format_FORMAT_DOCKERCFG,
	}[r.format]
	answer, err := quaygenv1.NewPullSecretsClient(conn).Get(ctx, &quaygenv1.PullSecretsGetRequest{Name: r.name, Namespace: r.namespace, Format: format})
	return answer.GetPullSecret().GetData(), err
}
