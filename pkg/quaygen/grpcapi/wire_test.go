package grpcapi_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
)

// raw is a codec for messages that are written and read by hand, so that nothing of the generated code takes part.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *(v.(*[]byte)), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*(v.(*[]byte)) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

func invoke(t testing.TB, c *grpc.ClientConn, method string, request []byte) ([]byte, error) {
	t.Helper()
	var answer []byte
	err := c.Invoke(t.Context(), method, &request, &answer, grpc.ForceCodec(raw{}))
	return answer, err
}

// field writes one field that has a length: a string, bytes, or a message.
func field[T string | []byte](number protowire.Number, value T) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), []byte(value))
}

func message(fields ...[]byte) []byte {
	var whole []byte
	for _, f := range fields {
		whole = append(whole, f...)
	}
	return whole
}

// parse reads a message into its fields: of varints the number, of all others the bytes.
func parse(t testing.TB, b []byte) map[protowire.Number][]string {
	t.Helper()
	fields := map[protowire.Number][]string{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		check(t, protowire.ParseError(n))
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			check(t, protowire.ParseError(n))
			fields[number], b = append(fields[number], fmt.Sprint(v)), b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			check(t, protowire.ParseError(n))
			fields[number], b = append(fields[number], string(v)), b[n:]
		default:
			t.Fatalf("field %d is of wire type %d", number, kind)
		}
	}
	return fields
}

// The numbers are those of ESO's branch mj-v2-poc-2 of 2026-06-24; see proto/externalsecrets/wire_test.go.
func TestESOsMessagesAreUnderstoodByteForByte(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		want, err := w.store(t, "eso", "prod-shop").get(t, "puller", "")
		check(t, err)
		c := w.showing(t, w.ca.Client(controller))
		ref := message(field(1, "quaygen.dev/v1"), field(2, "Any"), field(3, "main"), field(4, "quaygen"), field(5, "ClusterSecretStore"))
		remote := message(field(1, "puller"), field(4, "None"), field(5, "None"))
		request := message(field(1, remote), field(2, ref), field(3, "prod-shop"))

		answer, err := invoke(t, c, "/provider.v1.SecretStoreProvider/GetSecret", request)
		if got := parse(t, answer); err != nil || len(got) != 1 || len(got[1]) != 1 || got[1][0] != want {
			t.Errorf("GetSecret: %d fields, %v", len(got), err)
		}
		answer, err = invoke(t, c, "/provider.v1.SecretStoreProvider/GetSecretMap", request)
		if got := parse(t, answer); err != nil || len(got[1]) != 1 {
			t.Errorf("GetSecretMap: %d entries, %v", len(got[1]), err)
		} else if entry := parse(t, []byte(got[1][0])); entry[1][0] != ".dockerconfigjson" || entry[2][0] != want {
			t.Errorf("GetSecretMap: the entry %q is not the secret", entry[1])
		}
		find := message(field(2, field(1, "^pul")), field(3, message(field(1, "registry"), field(2, "quay"))))
		answer, err = invoke(t, c, "/provider.v1.SecretStoreProvider/GetAllSecrets", message(field(1, ref), field(2, find), field(3, "prod-shop")))
		if got := parse(t, answer); err != nil || len(got[1]) != 1 || parse(t, []byte(got[1][0]))[2][0] != want {
			t.Errorf("GetAllSecrets: %d entries, %v", len(got[1]), err)
		}
		answer, err = invoke(t, c, "/provider.v1.SecretStoreProvider/SecretExists", message(field(1, ref), field(2, field(1, "puller")), field(3, "prod-shop")))
		if got := parse(t, answer); err != nil || len(got) != 1 || got[1][0] != "1" {
			t.Errorf("SecretExists: %v, %v", got, err)
		}
		answer, err = invoke(t, c, "/provider.v1.SecretStoreProvider/Validate", field(1, ref)) // as of a cluster store: no namespace
		if got := parse(t, answer); err != nil || len(got) != 1 || got[1][0] != "1" {
			t.Errorf("Validate: %v, %v", got, err)
		}
		answer, err = invoke(t, c, "/provider.v1.SecretStoreProvider/Validate", message(field(1, ref), field(2, "dev-shop")))
		if got := parse(t, answer); err != nil || len(got) != 1 || len(got[2]) != 1 {
			t.Errorf("Validate, why not: %v, %v", got, err)
		}
		answer, err = invoke(t, c, "/provider.v1.SecretStoreProvider/Capabilities", message(field(1, ref), field(2, "prod-shop")))
		if err != nil || len(answer) != 0 { // READ_ONLY is 0, which is not written
			t.Errorf("Capabilities: %v, %v", answer, err)
		}
		answer, err = invoke(t, c, "/generator.v1.GeneratorProvider/Generate", message(field(1, message(field(3, "puller"), field(4, "prod-shop"))), field(2, "prod-shop")))
		if got := parse(t, answer); err != nil || len(got[1]) != 1 || len(got[2]) != 1 || parse(t, []byte(got[1][0]))[2][0] != want {
			t.Errorf("Generate: %d values, %d states, %v", len(got[1]), len(got[2]), err)
		}
	})
}

// ESO's protocol may get more fields and methods, and others may send anything at all.
func TestWhatIsUnknownOnTheWire(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := w.as(t, "eso")
		request := message(field(1, field(1, "puller")), field(3, "prod-shop"))
		const get = "/provider.v1.SecretStoreProvider/GetSecret"
		for _, test := range []struct {
			what, method string
			request      []byte
			want         codes.Code
		}{
			{"a field of the future", get, message(request, field(77, "something")), codes.OK},
			{"no bytes", get, nil, codes.InvalidArgument},
			{"not a message", get, []byte{0xff, 0xff, 0xff}, codes.Internal},
			{"a string that is no UTF-8", get, message(field(1, field(1, "pull\xff")), field(3, "prod-shop")), codes.Internal},
			{"a method of the future", "/provider.v1.SecretStoreProvider/Renew", request, codes.Unimplemented},
			{"a service of the future", "/provider.v2.SecretStoreProvider/GetSecret", request, codes.Unimplemented},
			{"no method", "/", request, codes.Unimplemented},
		} {
			_, err := invoke(t, c, test.method, test.request)
			is(t, test.what, err, test.want)
		}
		is(t, "after all that", getSecret(t, c), codes.OK)
	})
}
