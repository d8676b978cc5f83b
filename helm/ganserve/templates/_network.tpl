{{- /* Rules of the network policies: one for each flow. */ -}}

{{- define "ganserve.toDns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- /* Out to `flow` = {port, to}; without peers to any address on that port. */ -}}
{{- define "ganserve.toPort" -}}
- ports:
    - {protocol: TCP, port: {{ .port }}}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "ganserve.toPart" -}}
- ports:
    - {protocol: TCP, port: {{ .port }}}
  to:
    - podSelector:
        matchLabels:
          {{- include "ganserve.selector" . | nindent 10 }}
{{- end -}}

{{- define "ganserve.toRedis" -}}
{{- if .Values.redis.enabled -}}
{{- include "ganserve.toPart" (dict "root" . "part" "redis" "port" 6379) -}}
{{- else -}}
{{- include "ganserve.toPort" .Values.networkPolicy.redis -}}
{{- end -}}
{{- end -}}

{{- define "ganserve.toTraces" -}}
{{- if .Values.networkPolicy.traces.to }}
{{ include "ganserve.toPort" .Values.networkPolicy.traces }}
{{- end }}
{{- end -}}

{{- /* In from Prometheus, to the port of metrics. */ -}}
{{- define "ganserve.fromPrometheus" -}}
- ports:
    - {protocol: TCP, port: metrics}
  from:
    {{- toYaml .Values.networkPolicy.prometheus | nindent 4 }}
{{- end -}}
