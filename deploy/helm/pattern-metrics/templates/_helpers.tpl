{{/* The name of the objects: that of the chart, after the release's name if that is another one. */}}
{{- define "pattern-metrics.fullname" -}}
{{- if eq .Release.Name .Chart.Name }}{{ .Chart.Name }}{{ else }}{{ printf "%s-%s" (.Release.Name | trunc 32) .Chart.Name }}{{ end }}
{{- end }}

{{/* Selectors: (dict "root" $ "name" "pattern-metrics"). The page has another name than the workers, because their network
policy allows connections to Kafka. */}}
{{- define "pattern-metrics.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "pattern-metrics.labels" -}}
{{ include "pattern-metrics.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "pattern-metrics.podSpec" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.podSpec }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The fields that every container has: (dict "root" $ "part" .Values.worker). */}}
{{- define "pattern-metrics.container" -}}
image: {{ .root.Values.image.repository }}{{ if not (contains "@" .root.Values.image.repository) }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- with .root.Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
resources:
  {{- toYaml .part.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "pattern-metrics.databaseUrl" -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: DATABASE_URL
{{- end }}

{{/* The probes: the path of the readiness probe. */}}
{{- define "pattern-metrics.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: {{ . }}
    port: http
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "pattern-metrics.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}

{{/* A value as text. A large number would otherwise be written with an exponent. */}}
{{- define "pattern-metrics.text" -}}
{{ kindIs "string" . | ternary . (toJson .) | quote }}
{{- end }}
