package grpcapi

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/quaygen/quaygen/pkg/quaygen"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

type pullSecrets struct {
	quaygenv1.UnsafePullSecretsServer
	*Server
}

var formats = map[quaygenv1.Format]quaygen.Format{
	quaygenv1.Format_FORMAT_UNSPECIFIED:      quaygen.FormatDockerConfigJSON,
	quaygenv1.Format_FORMAT_DOCKERCONFIGJSON: quaygen.FormatDockerConfigJSON,
	quaygenv1.Format_FORMAT_BASIC:            quaygen.FormatBasic,
	quaygenv1.Format_FORMAT_DOCKERCFG:        quaygen.FormatDockerCfg,
}

// Get returns a pull secret as it is now.
func (s *pullSecrets) Get(ctx context.Context, r *quaygenv1.PullSecretsGetRequest) (*quaygenv1.PullSecretsGetResponse, error) {
	of(ctx).name, of(ctx).namespace = r.GetName(), r.GetNamespace()
	format, ok := formats[r.GetFormat()]
	if !ok {
		err := invalid("there is no format %d", r.GetFormat())
		return nil, s.Service.Refuse(ctx, of(ctx).caller, quaygen.Request{Name: r.GetName(), Namespace: r.GetNamespace(), Format: r.GetFormat().String()}, err)
	}
	answer, err := s.Service.Get(ctx, of(ctx).caller, quaygen.Request{Name: r.GetName(), Namespace: r.GetNamespace(), Format: string(format)})
	if err != nil {
		return nil, err
	}
	response := quaygen.Memo(answer, pullSecret)
	if !answer.Valid() { // the last thing before the credential leaves
		return nil, quaygen.ErrExpired(r.GetName())
	}
	return response, nil
}

func invalid(format string, args ...any) *quaygen.Error {
	return &quaygen.Error{Kind: quaygen.KindInvalid, Detail: fmt.Sprintf(format, args...)}
}

func pullSecret(a *quaygen.Answer) *quaygenv1.PullSecretsGetResponse {
	secret := &quaygenv1.PullSecret{Name: a.Name(), Data: bytesOf(a.Data()), Warnings: a.Warnings()}
	for _, c := range a.Credentials() {
		described := &quaygenv1.Credential{
			RobotName: c.Name, Registry: c.Host, Username: c.Robot, Generation: c.Generation, MintTime: timestamppb.New(c.MintedAt),
		}
		if !c.RefreshAt.IsZero() {
			described.RefreshTime = timestamppb.New(c.RefreshAt)
		}
		secret.Credentials = append(secret.Credentials, described)
	}
	return &quaygenv1.PullSecretsGetResponse{PullSecret: secret}
}

func bytesOf(data map[string]string) map[string][]byte {
	out := make(map[string][]byte, len(data))
	for key, value := range data {
		out[key] = []byte(value)
	}
	return out
}
