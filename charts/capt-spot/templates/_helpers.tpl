{{- define "capt-spot.name" -}}
{{- .Values.nameOverride | default "capt-spot" -}}
{{- end -}}

{{- define "capt-spot.account" -}}
{{- .Values.serviceAccount.name | default (include "capt-spot.name" .) -}}
{{- end -}}

{{- define "capt-spot.labels" -}}
app.kubernetes.io/name: capt-spot
app.kubernetes.io/instance: {{ include "capt-spot.name" . }}
app.kubernetes.io/component: fleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "capt-spot.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "v%s" .Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{- define "capt-spot.subject" -}}
- kind: ServiceAccount
  namespace: {{ .Release.Namespace }}
  name: {{ include "capt-spot.account" . }}
{{- end -}}

{{/* The spec of the Job, as `fleet manifest` prints it. */}}
{{- define "capt-spot.job" -}}
completionMode: Indexed
completions: {{ ternary .Values.shards 1 (ne .Values.inventory "") }}
parallelism: {{ ternary (min .Values.parallelism .Values.shards) 1 (ne .Values.inventory "") }}
backoffLimitPerIndex: {{ .Values.retries }}
activeDeadlineSeconds: {{ .Values.deadlineSeconds }}
podFailurePolicy:
  rules:
    # A node that goes away costs no try.
    - action: Ignore
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
    # It came to its end: not ready, wrong usage, undecided. Asking again gives the same answer.
    - action: FailIndex
      onExitCodes: {containerName: capt-spot, operator: In, values: [1, 2, 3]}
template:
  metadata:
    labels:
      {{- include "capt-spot.labels" . | nindent 6 }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ include "capt-spot.account" . }}
    {{- if and .Values.inventory (not .Values.publish) }}
    automountServiceAccountToken: false
    {{- end }}
    securityContext:
      runAsNonRoot: true
      runAsUser: 65532
      runAsGroup: 65532
      fsGroup: 65532
      seccompProfile: {type: RuntimeDefault}
    {{- with .Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .Values.inventory }}
    volumes:
      - name: files
        configMap: {name: {{ include "capt-spot.name" . }}-inventory}
    {{- end }}
    containers:
      - name: capt-spot
        image: {{ include "capt-spot.image" . | quote }}
        args:
          - preflight
          - --no-input
          {{- if .Values.inventory }}
          - --clusters=/etc/capt-spot/inventory.json
          - --shard=$(JOB_COMPLETION_INDEX)/{{ .Values.shards }}
          {{- else }}
          - {{ printf "--cluster-name=%s" (required "cluster.name: which EKS cluster is the chart installed in? (or give it an inventory)" .Values.cluster.name) | quote }}
          - {{ printf "--region=%s" (required "cluster.region: which region is the cluster in?" .Values.cluster.region) | quote }}
          {{- end }}
          - --output=ndjson
          {{- if .Values.publish }}
          - --publish
          {{- end }}
          {{- range .Values.flags }}
          - {{ . | quote }}
          {{- end }}
        env:
          - {name: NO_COLOR, value: "1"}
        terminationMessagePolicy: FallbackToLogsOnError
        {{- with .Values.resources }}
        resources:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        {{- if .Values.inventory }}
        volumeMounts:
          - {name: files, mountPath: /etc/capt-spot, readOnly: true}
        {{- end }}
{{- end -}}
