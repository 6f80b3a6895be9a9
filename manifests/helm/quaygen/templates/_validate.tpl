{{- /* What cannot work is refused here, with the value and what to write instead, all of it at once. */ -}}
{{- define "quaygen.validate" -}}
{{- $problems := list -}}
{{- range (list "config" "ledger" "mounts" "clients" "rights" "disruption" "network" "tls" "eso") -}}
{{- range (include (printf "quaygen.validate.%s" .) $ | splitList "\n") -}}
{{- with trim . }}{{ $problems = append $problems (printf "- %s" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if $problems }}{{ fail (printf "these values cannot work:\n%s" (join "\n" $problems)) }}{{ end -}}
{{- end }}

{{- define "quaygen.validate.config" -}}
{{- $config := .Values.config -}}
{{- if and $config .Values.existingConfigMap }}
config and existingConfigMap: both are set; remove one of them
{{- end }}
{{- if not (or $config .Values.existingConfigMap) }}
config: it is empty; write at least instance, registries and robots (manifests/examples has some), or name a ConfigMap in existingConfigMap
{{- else if $config }}
{{- range (list "instance" "registries" "robots") }}
{{- if not (get $config .) }}
config.{{ . }}: it is missing
{{- end }}
{{- end }}
{{- end }}
{{- if $config.ledger }}
config.ledger: the chart writes it, since it needs rights or a volume; remove it and set ledger.type
{{- end }}
{{- $server := $config.server | default dict }}
{{- range (list "http" "grpc" "admin") }}
{{- if (get $server . | default dict).listen }}
config.server.{{ . }}.listen: the chart writes it, since probes, Service and NetworkPolicy rely on it; remove it, and set service.port for another port of the Service
{{- end }}
{{- end }}
{{- if and (hasKey $server "grpc") (not .Values.grpc.enabled) }}
config.server.grpc: grpc.enabled is false; set it to true, which mounts the certificate and opens the port
{{- end }}
{{- end }}

{{- define "quaygen.validate.ledger" -}}
{{- if and (eq .Values.ledger.type "file") (ne (int .Values.replicaCount) 1) }}
replicaCount: a ledger of type file belongs to one replica; set replicaCount: 1, or ledger.type: kubernetes
{{- end }}
{{- if not .Values.ledger.type }}
{{- range .Values.config.robots }}
{{- if eq ((.rotation | default dict).strategy | default "") "regenerate" }}
ledger.type: robot {{ .name }} has strategy regenerate, which needs a ledger; set it to kubernetes, or to file with replicaCount: 1
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Files below a directory that nothing is mounted at would keep pods from starting. /etc/quaygen holds generator.yaml alone. */ -}}
{{- define "quaygen.validate.mounts" -}}
{{- $mounts := list "/var/run/secrets/quaygen/quay/" "/var/run/secrets/quaygen/tls/" -}}
{{- range $client, $_ := .Values.clientSecrets }}{{ $mounts = append $mounts (printf "/var/run/secrets/quaygen/clients/%s/" $client) }}{{ end -}}
{{- if .Values.grpc.enabled }}{{ $mounts = append $mounts "/var/run/secrets/quaygen/grpc/" }}{{ end -}}
{{- range .Values.extraVolumeMounts }}{{ $mounts = append $mounts (ternary .mountPath (printf "%s/" (.mountPath | trimSuffix "/")) (hasKey . "subPath")) }}{{ end -}}
{{- $files := dict -}}
{{- range $i, $registry := .Values.config.registries -}}
{{- range (list "tokenFile" "caFile") }}{{ $_ := set $files (printf "config.registries[%d].%s" $i .) (get $registry .) }}{{ end -}}
{{- end -}}
{{- range $i, $client := .Values.config.clients }}{{ $_ := set $files (printf "config.clients[%d].bearerTokenFile" $i) (get $client "bearerTokenFile") }}{{ end -}}
{{- range $key, $tls := (dict "config.server.tls" ((.Values.config.server | default dict).tls) "config.server.grpc.tls" (((.Values.config.server | default dict).grpc | default dict).tls)) -}}
{{- range $name, $file := $tls }}{{ $_ := set $files (printf "%s.%s" $key $name) $file }}{{ end -}}
{{- end -}}
{{- $otlp := (.Values.config.tracing | default dict).otlp -}}
{{- range (list "caFile" "certFile" "keyFile") }}{{ $_ := set $files (printf "config.tracing.otlp.%s" .) (get ($otlp | default dict) .) }}{{ end -}}
{{- $_ := set $files "config.audit.file" ((.Values.config.audit | default dict).file) -}}
{{- range $key, $file := $files -}}
{{- $there := not $file -}}
{{- range $mounts }}{{ if hasPrefix . ($file | default "") }}{{ $there = true }}{{ end }}{{ end }}
{{- if not $there }}
{{ $key }}: nothing is mounted at {{ $file }}; put it below a directory of quay.existingSecret or clientSecrets, or add its volume to extraVolumes and extraVolumeMounts
{{- end }}
{{- end }}
{{- end }}

{{- define "quaygen.validate.clients" -}}
{{- if .Values.config -}}
{{- $clients := dict -}}
{{- range .Values.config.clients }}
{{- $_ := set $clients .name . }}
{{- if not (or .bearerTokenFile .certificate .serviceAccount (get $.Values.clientSecrets .name)) }}
config.clients: {{ .name }} has no credential; name the Secret with its token in clientSecrets.{{ .name }}, or write bearerTokenFile, certificate or serviceAccount
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.clientSecrets }}
{{- if not (hasKey $clients $name) }}
clientSecrets.{{ $name }}: config.clients has no {{ $name }}; add it, or take the Secret away with {{ $name }}: null
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "quaygen.validate.rights" -}}
{{- if and (include "quaygen.needsAPIServer" .) .Values.rbac.create (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
serviceAccount.name: with serviceAccount.create: false the rights would go to the namespace's default ServiceAccount, and so to every pod; name another one
{{- end }}
{{- end }}

{{- define "quaygen.validate.disruption" -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- $replicas := int .Values.replicaCount -}}
{{- if and $budget.enabled (gt $replicas 0) }}
{{- $stay := int $budget.minAvailable }}
{{- if kindIs "string" $budget.minAvailable }}
{{- /* Kubernetes rounds a share up. */ -}}
{{- $stay = div (add (mul (trimSuffix "%" $budget.minAvailable | int) $replicas) 99) 100 }}
{{- end }}
{{- if ge (int $stay) $replicas }}
podDisruptionBudget.minAvailable: with {{ $budget.minAvailable }} of {{ .Values.replicaCount }} replicas no pod could ever be evicted, nor a node drained; lower it, raise replicaCount, or set podDisruptionBudget.enabled: false
{{- end }}
{{- end }}
{{- end }}

{{- /* Calls to Quay would time out, and nobody would see why; so would those to a collector of traces. */ -}}
{{- define "quaygen.validate.network" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $policy.enabled (not $policy.extraEgress) -}}
{{- $ports := list -}}
{{- range $policy.quay.ports }}{{ $ports = append $ports (toString .) }}{{ end -}}
{{- range $i, $registry := .Values.config.registries -}}
{{- range $key, $host := (dict "url" (urlParse ($registry.url | default "")).host "host" ($registry.host | default "")) }}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default "443" }}
{{- if not (has $port $ports) }}
config.registries[{{ $i }}].{{ $key }}: networkPolicy lets nobody out to port {{ $port }}; add it to networkPolicy.quay.ports
{{- end }}
{{- end }}
{{- end }}
{{- $endpoint := ((.Values.config.tracing | default dict).otlp | default dict).endpoint | default "" }}
{{- $port := regexFind "[0-9]+$" $endpoint }}
{{- if and $endpoint (not (regexMatch "^(localhost|127\\.[0-9.]+|\\[::1\\]):" $endpoint)) (or $policy.quay.to (not (has $port $ports))) }}
config.tracing.otlp.endpoint: networkPolicy lets nobody out to {{ $endpoint }}; write a rule for the collector's pods in networkPolicy.extraEgress, such as [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}], ports: [{protocol: TCP, port: {{ $port }}}]}]
{{- end }}
{{- end }}
{{- end }}

{{- define "quaygen.validate.tls" -}}
{{- with .Values.tls.certManager }}
{{- if and .enabled $.Values.tls.existingSecret }}
tls.existingSecret: tls.certManager.enabled makes the Secret; remove tls.existingSecret, or set tls.certManager.enabled: false
{{- end }}
{{- if and .enabled (not .issuerRef.name) }}
tls.certManager.issuerRef: it has no name; name the Issuer or ClusterIssuer that signs
{{- end }}
{{- end }}
{{- with .Values.grpc.certManager }}
{{- if and .enabled $.Values.grpc.existingSecret }}
grpc.existingSecret: grpc.certManager.enabled makes the Secret; remove grpc.existingSecret, or set grpc.certManager.enabled: false
{{- end }}
{{- if and .enabled (not $.Values.grpc.enabled) }}
grpc.certManager.enabled: grpc.enabled is false; set it to true, or grpc.certManager.enabled: false
{{- end }}
{{- if and .enabled (not (.issuerRef | default $.Values.tls.certManager.issuerRef).name) }}
grpc.certManager.issuerRef: it has no name, or is empty and tls.certManager.issuerRef has none; name the Issuer or ClusterIssuer that signs
{{- end }}
{{- end }}
{{- end }}

{{- define "quaygen.validate.eso" -}}
{{- $store := .Values.eso.clusterSecretStore -}}
{{- $external := .Values.eso.clusterExternalSecret -}}
{{- if $store.enabled }}
{{- if not (get .Values.clientSecrets $store.client) }}
eso.clusterSecretStore.client: clientSecrets has no {{ $store.client }}; name a client whose token ESO can read from a Secret
{{- end }}
{{- range .Values.config.clients }}
{{- if and (eq .name $store.client) (ne (.namespaceFrom | default "") "request") }}
eso.clusterSecretStore.client: {{ .name }} may not say for which namespace it asks, as this store does; set namespaceFrom: request, or name another client
{{- end }}
{{- end }}
{{- end }}
{{- if $external.enabled }}
{{- if not $store.enabled }}
eso.clusterExternalSecret.enabled: it refers to the chart's store; set eso.clusterSecretStore.enabled: true
{{- end }}
{{- if not $external.namespaceSelectors }}
eso.clusterExternalSecret.namespaceSelectors: it is empty; say which namespaces get the pull secret, such as [{matchLabels: {quaygen.dev/pull: NAME}}]
{{- end }}
{{- $names := list }}
{{- range (concat (.Values.config.robots | default list) (.Values.config.pullSecrets | default list)) }}{{ $names = append $names .name }}{{ end }}
{{- if or (not $external.pullSecret) (and .Values.config (not (has $external.pullSecret $names))) }}
eso.clusterExternalSecret.pullSecret: {{ $external.pullSecret | quote }} is none of config's robots and pullSecrets{{ with $names }}; one of: {{ join ", " . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
