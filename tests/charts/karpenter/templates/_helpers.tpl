{{- define "standin.fullname" -}}
{{- if contains "karpenter" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-karpenter{{ end }}
{{- end }}
{{- define "standin.account" -}}
{{- default (include "standin.fullname" .) .Values.serviceAccount.name }}
{{- end }}
{{- define "standin.labels" -}}
app.kubernetes.io/name: {{ default "karpenter" .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
