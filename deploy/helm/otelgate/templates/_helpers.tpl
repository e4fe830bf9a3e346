{{- define "otelgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "otelgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "otelgate.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "otelgate.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "otelgate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "otelgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "otelgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "otelgate.selectorLabels" . }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "otelgate.serviceAccount" -}}
{{- default (ternary (include "otelgate.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "otelgate.tlsSecret" -}}
{{- default (printf "%s-tls" (include "otelgate.fullname" .)) .Values.tls.secret }}
{{- end }}

{{/* Mistakes that no schema can see. */}}
{{- define "otelgate.checked" -}}
{{- $sinks := list .Values.sink.clickhouse.url .Values.sink.forward.endpoint (ternary "clickstack" "" .Values.clickstack.enabled) | compact }}
{{- if ne (len $sinks) 1 }}
{{- fail "set exactly one of sink.clickhouse.url, sink.forward.endpoint and clickstack.enabled" }}
{{- end }}
{{- if not (or .Values.keys.file .Values.keys.clickstack.url .Values.clickstack.enabled (dig "keys" "oidc" false .Values.config)) }}
{{- fail "nobody has a key: set keys.file, keys.clickstack.url, clickstack.enabled or config.keys.oidc" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (or .Values.tls.plaintext (not .Values.tls.certManager.issuerRef.name) (not .Values.tls.certManager.dnsNames)) }}
{{- fail "tls.certManager needs issuerRef.name and dnsNames, and no tls.plaintext" }}
{{- end }}
{{- end }}

{{/* Each of ClickStack's variables that otelgate reads, and the object that has it. Not envFrom: that would bring the app's other secrets too, MongoDB's password for one. */}}
{{- define "otelgate.clickstackEnv" -}}
{{- range list "CLICKHOUSE_ENDPOINT" "CLICKHOUSE_USER" "HYPERDX_OTEL_EXPORTER_CLICKHOUSE_DATABASE" "HYPERDX_OTEL_EXPORTER_TABLES_TTL" "HYPERDX_OTEL_EXPORTER_LOGS_TTL" "HYPERDX_OTEL_EXPORTER_TRACES_TTL" "HYPERDX_OTEL_EXPORTER_METRICS_TTL" "HYPERDX_OTEL_EXPORTER_SESSIONS_TTL" "OPAMP_SERVER_URL" }}
- name: {{ . }}
  valueFrom:
    configMapKeyRef: { name: {{ $.Values.clickstack.configMap }}, key: {{ . }}, optional: true }
{{- end }}
- name: CLICKHOUSE_PASSWORD
  valueFrom:
    secretKeyRef: { name: {{ .Values.clickstack.secret }}, key: CLICKHOUSE_PASSWORD }
{{- end }}

{{/* What the chart writes of otelgate.yaml; .Values.config is merged over it. */}}
{{- define "otelgate.baseConfig" -}}
state_dir: /var/lib/otelgate
listen:
  otlp: ["0.0.0.0:4317", "0.0.0.0:4318"]
  admin: "0.0.0.0:9317"
admin:
  token: "${file:/etc/otelgate/secrets/admin-token}"
tls:
{{- if .Values.tls.plaintext }}
  plaintext: true
  allow_public_plaintext: true
{{- else }}
  cert_file: /etc/otelgate/tls/tls.crt
  key_file: /etc/otelgate/tls/tls.key
{{- end }}
keys:
{{- if .Values.keys.file }}
  file: /etc/otelgate/secrets/keys.yaml
{{- end }}
{{- if .Values.keys.clickstack.url }}
  clickstack:
    url: {{ .Values.keys.clickstack.url | quote }}
{{- else if .Values.clickstack.enabled }}
  clickstack:
    url: "${env:OPAMP_SERVER_URL:-}"
{{- end }}
sink:
{{- if .Values.sink.forward.endpoint }}
  forward:
    endpoint: {{ toJson .Values.sink.forward.endpoint }}
    token: "${file:/etc/otelgate/secrets/forward-token}"
    {{- if eq .Values.mode "agent" }}
    compression: zstd
    {{- end }}
{{- else if .Values.clickstack.enabled }}
  clickhouse:
    url: "${env:CLICKHOUSE_ENDPOINT}"
    user: "${env:CLICKHOUSE_USER:-default}"
    password: "${env:CLICKHOUSE_PASSWORD}"
    database: "${env:HYPERDX_OTEL_EXPORTER_CLICKHOUSE_DATABASE:-default}"
    ttl:
      {{- range list "logs" "traces" "metrics" "sessions" }}
      {{ . }}: "${env:HYPERDX_OTEL_EXPORTER_{{ upper . }}_TTL:-${env:HYPERDX_OTEL_EXPORTER_TABLES_TTL:-720h}}"
      {{- end }}
{{- else }}
  clickhouse:
    url: {{ toJson .Values.sink.clickhouse.url }}
    database: {{ .Values.sink.clickhouse.database | quote }}
    user: {{ .Values.sink.clickhouse.user | quote }}
    password: "${file:/etc/otelgate/secrets/clickhouse-password}"
{{- end }}
{{- if and (eq .Values.mode "agent") (not .Values.agent.hostPath) }}
spool: none
{{- end }}
shutdown:
  drain_delay: {{ .Values.shutdown.drainDelaySeconds }}s
  deadline: {{ .Values.shutdown.deadlineSeconds }}s
{{- end }}

{{- define "otelgate.config" -}}
{{- toYaml (mergeOverwrite (fromYaml (include "otelgate.baseConfig" .)) (deepCopy .Values.config)) }}
{{- end }}

{{/* The pod of both modes. */}}
{{- define "otelgate.pod" -}}
metadata:
  annotations:
    # What otelgate.yaml says is taken over as far as that goes without a restart; this restarts for the rest.
    checksum/config: {{ include "otelgate.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "otelgate.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "otelgate.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # Longer than shutdown.deadline: it ends by itself, and is never killed while it answers.
  terminationGracePeriodSeconds: {{ add .Values.shutdown.deadlineSeconds .Values.shutdown.emptySpoolSeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: otelgate
      {{- $tag := default .Chart.AppVersion .Values.image.tag }}
      image: {{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/otelgate/config/otelgate.yaml]
      {{- if or .Values.clickstack.enabled .Values.extraEnv }}
      env:
        {{- if .Values.clickstack.enabled }}
        {{- include "otelgate.clickstackEnv" . | nindent 8 }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        {{- range $name, $port := dict "otlp" 4317 "otlp-http" 4318 }}
        - name: {{ $name }}
          containerPort: {{ $port }}
          {{- if and (eq $.Values.mode "agent") $.Values.agent.hostPort }}
          hostPort: {{ $port }}
          {{- with $.Values.agent.hostIP }}
          hostIP: {{ . }}
          {{- end }}
          {{- end }}
        {{- end }}
        - { name: admin, containerPort: 9317 }
      {{- with .Values.shutdown.emptySpoolSeconds }}
      lifecycle:
        preStop:
          exec: { command: [otelgate, drain, --config, /etc/otelgate/config/otelgate.yaml, --timeout, {{ . }}s] }
      {{- end }}
      livenessProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: state, mountPath: /var/lib/otelgate }
        - { name: config, mountPath: /etc/otelgate/config, readOnly: true }
        - { name: secrets, mountPath: /etc/otelgate/secrets, readOnly: true }
        {{- if not .Values.tls.plaintext }}
        - { name: tls, mountPath: /etc/otelgate/tls, readOnly: true }
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "otelgate.fullname" . }} }
    - name: secrets
      secret: { secretName: {{ .Values.secret }}, defaultMode: 0440 }
    {{- if not .Values.tls.plaintext }}
    - name: tls
      secret: { secretName: {{ include "otelgate.tlsSecret" . }}, defaultMode: 0440 }
    {{- end }}
    {{- if eq .Values.mode "agent" }}
    - name: state
      {{- if .Values.agent.hostPath }}
      hostPath: { path: {{ .Values.agent.hostPath }}, type: Directory }
      {{- else }}
      emptyDir: { sizeLimit: 16Mi }
      {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with (ternary .Values.agent.tolerations .Values.tolerations (eq .Values.mode "agent")) }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.affinity }}
  affinity:
    {{- toYaml .Values.affinity | nindent 4 }}
  {{- else if eq .Values.mode "edge" }}
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "otelgate.selectorLabels" . | nindent 16 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
