// Package externalsecrets tests that the declarations below it are those of the External Secrets Operator on the wire.
package externalsecrets

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
)

// What ESO's branch mj-v2-poc-2 of 2026-06-24 sends and expects.
var wire = map[string]string{
	"/provider.v1.SecretStoreProvider/GetSecret":     "GetSecretRequest GetSecretResponse",
	"/provider.v1.SecretStoreProvider/GetSecretMap":  "GetSecretMapRequest GetSecretMapResponse",
	"/provider.v1.SecretStoreProvider/PushSecret":    "PushSecretRequest PushSecretResponse",
	"/provider.v1.SecretStoreProvider/DeleteSecret":  "DeleteSecretRequest DeleteSecretResponse",
	"/provider.v1.SecretStoreProvider/SecretExists":  "SecretExistsRequest SecretExistsResponse",
	"/provider.v1.SecretStoreProvider/GetAllSecrets": "GetAllSecretsRequest GetAllSecretsResponse",
	"/provider.v1.SecretStoreProvider/Validate":      "ValidateRequest ValidateResponse",
	"/provider.v1.SecretStoreProvider/Capabilities":  "CapabilitiesRequest CapabilitiesResponse",

	"provider.v1.ProviderReference":           "1 api_version string, 2 kind string, 3 name string, 4 namespace string, 5 store_ref_kind string",
	"provider.v1.ExternalSecretDataRemoteRef": "1 key string, 2 version string, 3 property string, 4 decoding_strategy string, 5 metadata_policy string",
	"provider.v1.GetSecretRequest":            "1 remote_ref ExternalSecretDataRemoteRef, 2 provider_ref ProviderReference, 3 source_namespace string",
	"provider.v1.GetSecretResponse":           "1 value bytes",
	"provider.v1.GetSecretMapRequest":         "1 remote_ref ExternalSecretDataRemoteRef, 2 provider_ref ProviderReference, 3 source_namespace string",
	"provider.v1.GetSecretMapResponse":        "1 secrets map<string,bytes>",
	"provider.v1.GetAllSecretsRequest":        "1 provider_ref ProviderReference, 2 find ExternalSecretFind, 3 source_namespace string",
	"provider.v1.GetAllSecretsResponse":       "1 secrets map<string,bytes>",
	"provider.v1.ExternalSecretFind":          "1 path string, 2 name FindName, 3 tags map<string,string>, 4 conversion_strategy string, 5 decoding_strategy string",
	"provider.v1.FindName":                    "1 regexp string",
	"provider.v1.PushSecretRequest": "1 provider_ref ProviderReference, 2 secret_data map<string,bytes>, 3 push_secret_data PushSecretData, 4 source_namespace string, " +
		"5 secret_type string, 6 secret_labels map<string,string>, 7 secret_annotations map<string,string>",
	"provider.v1.PushSecretResponse":      "",
	"provider.v1.PushSecretData":          "1 metadata bytes, 2 secret_key string, 3 remote_key string, 4 property string",
	"provider.v1.PushSecretRemoteRef":     "1 remote_key string, 2 property string",
	"provider.v1.DeleteSecretRequest":     "1 provider_ref ProviderReference, 2 remote_ref PushSecretRemoteRef, 3 source_namespace string",
	"provider.v1.DeleteSecretResponse":    "",
	"provider.v1.SecretExistsRequest":     "1 provider_ref ProviderReference, 2 remote_ref PushSecretRemoteRef, 3 source_namespace string",
	"provider.v1.SecretExistsResponse":    "1 exists bool",
	"provider.v1.ValidateRequest":         "1 provider_ref ProviderReference, 2 source_namespace string",
	"provider.v1.ValidateResponse":        "1 valid bool, 2 error string, 3 warnings repeated string",
	"provider.v1.CapabilitiesRequest":     "1 provider_ref ProviderReference, 2 source_namespace string",
	"provider.v1.CapabilitiesResponse":    "1 capabilities SecretStoreCapabilities",
	"provider.v1.SecretStoreCapabilities": "0 READ_ONLY, 1 WRITE_ONLY, 2 READ_WRITE",
	"provider.v1.Error":                   "1 code string, 2 message string, 3 retryable bool, 4 details map<string,string>",

	"/generator.v1.GeneratorProvider/Generate": "GenerateRequest GenerateResponse",
	"/generator.v1.GeneratorProvider/Cleanup":  "CleanupRequest CleanupResponse",

	"generator.v1.GeneratorRef":     "1 api_version string, 2 kind string, 3 name string, 4 namespace string",
	"generator.v1.GenerateRequest":  "1 generator_ref GeneratorRef, 2 source_namespace string",
	"generator.v1.GenerateResponse": "1 secrets map<string,bytes>, 2 state bytes",
	"generator.v1.CleanupRequest":   "1 generator_ref GeneratorRef, 2 state bytes, 3 source_namespace string",
	"generator.v1.CleanupResponse":  "",
}

func TestTheDeclarationsAreESOsOnTheWire(t *testing.T) {
	got := map[string]string{}
	for _, file := range []protoreflect.FileDescriptor{providerv1.File_provider_v1_provider_proto, generatorv1.File_generator_v1_generator_proto} {
		maps.Copy(got, declared(file))
	}
	if diff := cmp.Diff(wire, got); diff != "" {
		t.Errorf("ESO's protocol (-) and what is declared (+):\n%s", diff)
	}
}

// declared writes down what a file declares, in the form of the table.
func declared(file protoreflect.FileDescriptor) map[string]string {
	out := map[string]string{}
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			form := string(m.Input().Name()) + " " + string(m.Output().Name())
			if m.IsStreamingClient() || m.IsStreamingServer() {
				form += " streamed"
			}
			out[fmt.Sprintf("/%s/%s", service.FullName(), m.Name())] = form
		}
	}
	for i := range file.Messages().Len() {
		message := file.Messages().Get(i)
		fields := make([]protoreflect.FieldDescriptor, message.Fields().Len())
		for j := range fields {
			fields[j] = message.Fields().Get(j)
		}
		slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
		var forms []string
		for _, f := range fields {
			forms = append(forms, fmt.Sprintf("%d %s %s", f.Number(), f.Name(), form(f)))
		}
		out[string(message.FullName())] = strings.Join(forms, ", ")
	}
	for i := range file.Enums().Len() {
		enum := file.Enums().Get(i)
		var values []string
		for j := range enum.Values().Len() {
			v := enum.Values().Get(j)
			values = append(values, fmt.Sprintf("%d %s", v.Number(), v.Name()))
		}
		out[string(enum.FullName())] = strings.Join(values, ", ")
	}
	return out
}

func form(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s,%s>", form(f.MapKey()), form(f.MapValue()))
	case f.IsList():
		return "repeated " + single(f)
	}
	return single(f)
}

func single(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return string(f.Message().Name())
	case f.Enum() != nil:
		return string(f.Enum().Name())
	}
	return f.Kind().String()
}
