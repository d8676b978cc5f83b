{{- /* What every pod has: the restricted profile, its image, environment and folders. */ -}}

{{- define "ganserve.podSpec" -}}
serviceAccountName: {{ include "ganserve.name" .root }}-{{ .part }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "ganserve.podMetadata" -}}
labels:
  {{- include "ganserve.labels" . | nindent 2 }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ganserve.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ganserve.container" -}}
name: {{ .part }}
image: {{ include "ganserve.image" . }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- /* Requests and limits, and `gpu` devices of the resource that the worker names. */ -}}
{{- define "ganserve.resources" -}}
resources:
  requests:
    {{- toYaml .resources.requests | nindent 4 }}
  limits:
    {{- toYaml .resources.limits | nindent 4 }}
    {{- if .gpu }}
    {{ .root.Values.worker.gpu.resource }}: 1
    {{- end }}
{{- end -}}

{{- /* GANSERVE_* of one process: the settings that all share, then its secrets. */ -}}
{{- define "ganserve.env" -}}
- {name: HOME, value: /tmp}
- {name: OMP_WAIT_POLICY, value: PASSIVE}
- {name: GANSERVE_WORK_DIR, value: /var/lib/ganserve}
- {name: GANSERVE_PUBLIC_URL, value: {{ required "publicUrl is required" .root.Values.publicUrl | quote }}}
- {name: GANSERVE_BLOB_URL, value: {{ required "blobUrl is required" .root.Values.blobUrl | quote }}}
- {name: GANSERVE_METRICS_HOST, value: 0.0.0.0}
- {name: GANSERVE_METRICS_PORT, value: {{ include "ganserve.metricsPort" . | quote }}}
- {name: GANSERVE_LOG_FORMAT, value: json}
{{- with .root.Values.tracesEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := .root.Values.settings }}
- name: GANSERVE_{{ upper $name }}
  value: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ toJson $value | quote }}{{ end }}
{{- end }}
{{- range .secrets }}
- name: GANSERVE_{{ . | upper | replace "-" "_" }}
  valueFrom: {secretKeyRef: {name: {{ $.root.Values.existingSecret }}, key: {{ . }}}}
{{- end }}
{{- end -}}

{{- define "ganserve.metricsPort" -}}
9464
{{- end -}}

{{- /* Keys of the secret that whoever touches objects needs. */ -}}
{{- define "ganserve.objectSecrets" -}}
{{- if eq .Values.s3.credentials "secret" }} s3-access-key s3-secret-key{{ end -}}
{{- end -}}

{{- define "ganserve.folders" -}}
- {name: tmp, mountPath: /tmp}
- {name: work, mountPath: /var/lib/ganserve}
{{- end -}}

{{- /* Tenants' own buckets, for those who write there or sign links to it. */ -}}
{{- define "ganserve.bucketsEnv" -}}
{{- if .Values.buckets.secret }}
- {name: GANSERVE_BUCKETS, value: /etc/ganserve/buckets/buckets.toml}
{{- end }}
{{- end -}}

{{- define "ganserve.bucketsFolder" -}}
{{- if .Values.buckets.secret }}
- {name: buckets, mountPath: /etc/ganserve/buckets, readOnly: true}
{{- end }}
{{- end -}}

{{- define "ganserve.bucketsVolume" -}}
{{- with .Values.buckets.secret }}
- {name: buckets, secret: {secretName: {{ . }}, defaultMode: 288}} # 0440
{{- end }}
{{- end -}}

{{- define "ganserve.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: {{ .tmp | default "64Mi" }}}}
- {name: work, emptyDir: {sizeLimit: {{ .work | default "64Mi" }}}}
{{- end -}}

{{- /* Liveness is progress: /healthz answers 503 when a loop has been silent for too long. */ -}}
{{- define "ganserve.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ .port | default "metrics" }}}
  periodSeconds: 5
  failureThreshold: {{ div (.startupS | default 60) 5 }}
livenessProbe:
  httpGet: {path: /healthz, port: {{ .port | default "metrics" }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port | default "metrics" }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}
