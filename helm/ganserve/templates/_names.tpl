{{- /* Names, labels and images. `part` is api, worker, reaper, dispatcher, migrate, redis or triton. */ -}}

{{- define "ganserve.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ganserve.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "ganserve.labels" -}}
{{ include "ganserve.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ganserve.metadata" -}}
name: {{ include "ganserve.name" .root }}-{{ .part }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "ganserve.labels" . | nindent 2 }}
{{- end -}}

{{- /* An image by its digest; by its tag only where that is allowed. */ -}}
{{- define "ganserve.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $name := list .root.Values.images.registry $image.repository | compact | join "/" -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else if and .root.Values.images.allowTags $image.tag -}}
{{- printf "%s:%s" $name $image.tag -}}
{{- else -}}
{{- fail (printf "images.%s.digest is required (or images.allowTags, and a tag)" .image) -}}
{{- end -}}
{{- end -}}
