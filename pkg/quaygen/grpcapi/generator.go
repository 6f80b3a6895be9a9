package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/quaygen/quaygen/pkg/quaygen"
	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
)

// generator answers for generators of the External Secrets Operator (ESO): the reference's name is that of the pull secret.
type generator struct {
	generatorv1.UnsafeGeneratorProviderServer
	*Server
}

// state is what ESO keeps of a refresh, as JSON, and hands back when it cleans up. It names no token.
type state struct {
	Name        string      `json:"name"`
	Credentials []stateItem `json:"credentials"`
}

type stateItem struct {
	Robot      string `json:"robot"`
	Generation int64  `json:"generation"`
}

// Generate returns a pull secret. Asked again it returns the same credential until the next rotation.
func (s *generator) Generate(ctx context.Context, r *generatorv1.GenerateRequest) (*generatorv1.GenerateResponse, error) {
	c, ref, namespace := of(ctx), r.GetGeneratorRef(), r.GetSourceNamespace()
	c.name, c.namespace = ref.GetName(), namespace
	if ref.GetNamespace() != "" && ref.GetNamespace() != namespace {
		err := &quaygen.Error{Kind: quaygen.KindDenied, Detail: fmt.Sprintf("a generator serves its own namespace only; this one is of %q", quaygen.Clip(ref.GetNamespace()))}
		return nil, s.Service.Refuse(ctx, c.caller, quaygen.Request{Name: ref.GetName(), Namespace: namespace}, err)
	}
	answer, err := s.Service.Get(ctx, c.caller, quaygen.Request{Name: ref.GetName(), Namespace: namespace})
	if err != nil {
		return nil, err
	}
	kept := state{Name: answer.Name()}
	for _, credential := range answer.Credentials() {
		kept.Credentials = append(kept.Credentials, stateItem{credential.Robot, credential.Generation})
	}
	encoded, err := json.Marshal(kept)
	if err != nil {
		return nil, fmt.Errorf("writing the state of %s: %w", answer.Name(), err)
	}
	response := &generatorv1.GenerateResponse{Secrets: bytesOf(answer.Data()), State: encoded}
	if !answer.Valid() { // the last thing before the credential leaves
		return nil, quaygen.ErrExpired(answer.Name())
	}
	return response, nil
}

// Cleanup ends nothing. ESO cleans up the states of earlier refreshes, which mostly carry the generation that is still
// served; superseded ones end by their drain, and a namespace's robot when it is idle. It succeeds whatever the state says,
// since a failing one keeps ESO from deleting the namespace.
func (s *generator) Cleanup(ctx context.Context, r *generatorv1.CleanupRequest) (*generatorv1.CleanupResponse, error) {
	var kept state
	err := json.Unmarshal(r.GetState(), &kept)
	of(ctx).name = kept.Name
	s.Log.Debug("a generator's state is cleaned up; its credentials end by themselves", "namespace", r.GetSourceNamespace(), "name", kept.Name, "credentials", len(kept.Credentials), "ours", err == nil)
	return &generatorv1.CleanupResponse{}, nil
}
