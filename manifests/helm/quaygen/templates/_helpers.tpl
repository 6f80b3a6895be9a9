{{- define "quaygen.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 46 characters leave room for the longest suffix, -namespace-labels. */ -}}
{{- define "quaygen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 46 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "quaygen.selectorLabels" -}}
app.kubernetes.io/name: {{ include "quaygen.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "quaygen.labels" -}}
{{ include "quaygen.selectorLabels" . }}
app.kubernetes.io/part-of: quaygen
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "quaygen.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "quaygen.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "quaygen.fullname" .) }}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "quaygen.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "quaygen.fullname" .)) }}
{{- end }}

{{- define "quaygen.grpcSecret" -}}
{{- .Values.grpc.existingSecret | default (printf "%s-grpc-tls" (include "quaygen.fullname" .)) }}
{{- end }}

{{- define "quaygen.configMap" -}}
{{- .Values.existingConfigMap | default (include "quaygen.fullname" .) }}
{{- end }}

{{- define "quaygen.serverName" -}}
{{- include "quaygen.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{- /* What follows is "true" or empty. */ -}}

{{- define "quaygen.ledgerInKubernetes" -}}
{{- if eq .Values.ledger.type "kubernetes" }}true{{ end -}}
{{- end }}

{{- define "quaygen.namespaceLabels" -}}
{{- $on := .Values.namespaceLabels.enabled -}}
{{- range .Values.config.rules }}{{ if .namespaceLabels }}{{ $on = true }}{{ end }}{{ end -}}
{{- if $on }}true{{ end -}}
{{- end }}

{{- define "quaygen.tokenReview" -}}
{{- $on := .Values.tokenReview.enabled -}}
{{- range .Values.config.clients }}{{ if .serviceAccount }}{{ $on = true }}{{ end }}{{ end -}}
{{- if $on }}true{{ end -}}
{{- end }}

{{- define "quaygen.needsAPIServer" -}}
{{- if or (include "quaygen.ledgerInKubernetes" .) (include "quaygen.namespaceLabels" .) (include "quaygen.tokenReview" .) }}true{{ end -}}
{{- end }}
