package audit_test

import (
	"path/filepath"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
)

func entry() audit.Entry {
	return &audit.Request{
		Client: "eso", How: "bearer", Transport: "http", From: "10.2.0.17:40112", Namespace: "prod-shop", Name: "prod-puller",
		Decision: "allowed", Result: audit.ResultOK, Reason: "permitted by rule 0",
		Credentials: []audit.Credential{{Robot: "myorg+k8s_prod_puller_g473512", Registry: "quay.example.com:8443", Generation: 473512, Token: "5e884898da28"}},
	}
}

// What a request pays that waits for nothing.
func BenchmarkRecord(b *testing.B) {
	l := open(b, audit.Config{File: filepath.Join(b.TempDir(), "audit.jsonl")})
	b.ReportAllocs()
	for b.Loop() {
		l.Record(entry())
	}
}

// What a request pays that waits for the disk, alone and with many others: they share a write.
func BenchmarkCommit(b *testing.B) {
	for name, callers := range map[string]int{"alone": 1, "with 64": 64} {
		b.Run(name, func(b *testing.B) {
			l := open(b, audit.Config{File: filepath.Join(b.TempDir(), "audit.jsonl"), Block: true})
			b.SetParallelism(callers)
			work := func() error { return l.Commit(b.Context(), entry()) }
			if callers == 1 {
				for b.Loop() {
					if err := work(); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := work(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
