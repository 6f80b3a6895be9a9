{{- /* The GeneratorConfig as pods read it: config, and what the chart knows better. */ -}}
{{- define "quaygen.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "apiVersion" "quaygen.dev/v1alpha1" -}}
{{- $_ = set $config "kind" "GeneratorConfig" -}}
{{- range $config.registries -}}
{{- if not .tokenFile }}{{ $_ = set . "tokenFile" "/var/run/secrets/quaygen/quay/token" }}{{ end -}}
{{- end -}}
{{- range $config.clients -}}
{{- if and (not .bearerTokenFile) (not .serviceAccount) (get $.Values.clientSecrets .name) -}}
{{- $_ = set . "bearerTokenFile" (printf "/var/run/secrets/quaygen/clients/%s/token" .name) -}}
{{- end -}}
{{- end -}}
{{- $server := include "quaygen.server" . | fromYaml -}}
{{- $_ = set $config "server" (mergeOverwrite $server ($config.server | default dict)) -}}
{{- if eq .Values.ledger.type "kubernetes" -}}
{{- $_ = set $config "ledger" (dict "kubernetes" (dict "namespace" .Release.Namespace)) -}}
{{- else if eq .Values.ledger.type "file" -}}
{{- $_ = set $config "ledger" (dict "file" "/var/lib/quaygen/ledger.db") -}}
{{- end -}}
{{- toYaml $config }}
{{- end }}

{{- /* What of the configuration takes effect at the next start, not with a reload. */ -}}
{{- define "quaygen.readAtStart" -}}
{{- $config := include "quaygen.config" . | fromYaml -}}
{{- $_ := set $config "server" (omit $config.server "limits") -}}
{{- pick $config "server" "ledger" "audit" "tracing" | toYaml }}
{{- end }}

{{- define "quaygen.server" -}}
http: {listen: ":8443"}
admin: {listen: ":9090"}
tls:
  certFile: /var/run/secrets/quaygen/tls/tls.crt
  keyFile: /var/run/secrets/quaygen/tls/tls.key
{{- if .Values.grpc.enabled }}
grpc:
  listen: ":9443"
  tls:
    certFile: /var/run/secrets/quaygen/grpc/tls.crt
    keyFile: /var/run/secrets/quaygen/grpc/tls.key
    {{- $certificates := false }}
    {{- range .Values.config.clients }}{{ if .certificate }}{{ $certificates = true }}{{ end }}{{ end }}
    {{- if $certificates }}
    clientCAFile: /var/run/secrets/quaygen/grpc/ca.crt
    {{- end }}
{{- end }}
{{- end }}
