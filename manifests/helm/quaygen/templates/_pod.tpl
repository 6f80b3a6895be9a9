{{- define "quaygen.pod" -}}
serviceAccountName: {{ include "quaygen.serviceAccountName" . }}
automountServiceAccountToken: {{ include "quaygen.needsAPIServer" . | eq "true" }}
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $constraint := . }}
  {{- if not .labelSelector }}
  {{- $constraint = merge (dict "labelSelector" (dict "matchLabels" (include "quaygen.selectorLabels" $ | fromYaml))) . }}
  {{- end }}
  - {{- toYaml $constraint | nindent 4 }}
  {{- end }}
{{- end }}
containers:
- name: generator
  image: {{ include "quaygen.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
  - serve
  - --config=/etc/quaygen/generator.yaml
  - --log-format=json
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if or .Values.goMemLimit .Values.extraEnv }}
  env:
  {{- with .Values.goMemLimit }}
  - {name: GOMEMLIMIT, value: {{ . | quote }}}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
  ports:
  - {name: https, containerPort: 8443}
  - {name: admin, containerPort: 9090}
  {{- if .Values.grpc.enabled }}
  - {name: grpc, containerPort: 9443}
  {{- end }}
  startupProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 1
    failureThreshold: 30
  livenessProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 10
  readinessProbe:
    httpGet: {path: /readyz, port: admin}
    periodSeconds: 5
  lifecycle:
    # Callers learn only after a moment that this pod is going.
    preStop: {sleep: {seconds: 5}}
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
  - {name: config, mountPath: /etc/quaygen, readOnly: true}
  - {name: quay, mountPath: /var/run/secrets/quaygen/quay, readOnly: true}
  {{- range $client, $secret := .Values.clientSecrets }}
  - {name: client-{{ $client }}, mountPath: /var/run/secrets/quaygen/clients/{{ $client }}, readOnly: true}
  {{- end }}
  - {name: tls, mountPath: /var/run/secrets/quaygen/tls, readOnly: true}
  {{- if .Values.grpc.enabled }}
  - {name: grpc-tls, mountPath: /var/run/secrets/quaygen/grpc, readOnly: true}
  {{- end }}
  {{- if eq .Values.ledger.type "file" }}
  - {name: ledger, mountPath: /var/lib/quaygen}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
- name: config
  configMap: {name: {{ include "quaygen.configMap" . }}}
- name: quay
  secret: {secretName: {{ .Values.quay.existingSecret }}, defaultMode: 0440}
{{- range $client, $secret := .Values.clientSecrets }}
- name: client-{{ $client }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
- name: tls
  secret: {secretName: {{ include "quaygen.tlsSecret" . }}, defaultMode: 0440}
{{- if .Values.grpc.enabled }}
- name: grpc-tls
  secret: {secretName: {{ include "quaygen.grpcSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if eq .Values.ledger.type "file" }}
- name: ledger
  persistentVolumeClaim: {claimName: {{ .Values.ledger.file.existingClaim | default (printf "%s-ledger" (include "quaygen.fullname" .)) }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
