{{- define "connector.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{/* The daemon's pods and the test of them; the selector below takes the daemon's alone. */}}
{{- define "connector.family" -}}
app.kubernetes.io/name: connector
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "connector.selector" -}}
{{ include "connector.family" . }}
app.kubernetes.io/component: daemon
{{- end -}}

{{- define "connector.labels" -}}
{{ include "connector.family" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "connector.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ .Values.serviceAccount.name | default (include "connector.name" .) }}
{{- else -}}{{ .Values.serviceAccount.name | default "default" }}{{- end -}}
{{- end -}}

{{- define "connector.configMap" -}}
{{ .Values.existingConfigMap | default (printf "%s-config" (include "connector.name" .)) }}
{{- end -}}

{{- define "connector.image" -}}
{{- if .Values.image.digest -}}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else -}}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}{{- end -}}
{{- end -}}

{{/* Image, security, environment and mounts: the same for the daemon and for the test of it. */}}
{{- define "connector.process" -}}
image: {{ include "connector.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: CONNECTOR_ADMIN__LISTEN, value: {{ printf ":%v" .Values.admin.port | quote }}}
  - {name: CONNECTOR_SHUTDOWN_TIMEOUT, value: {{ printf "%vs" .Values.shutdownSeconds }}}
  {{- with .Values.kafka.bootstrapServers }}
  - {name: CONNECTOR_KAFKA__BOOTSTRAP_SERVERS, value: {{ . | quote }}}
  {{- end }}
  {{- with .Values.kafka.groupId }}
  - {name: CONNECTOR_KAFKA__GROUP_ID, value: {{ . | quote }}}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: connector-config, mountPath: /etc/connector, readOnly: true}
  {{- range .Values.secretFiles }}
  - {name: {{ printf "connector-%s" .name }}, mountPath: /run/secrets/connector/{{ .folder }}, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "connector.daemon" -}}
name: connector
args: [run, /etc/connector]
ports:
  - {name: connector, containerPort: {{ .Values.admin.port }}}
{{ include "connector.process" . }}
{{- end -}}

{{/*
The daemon as a container of somebody else's pod. It has no readiness probe, so that a held lane or a slow Kafka never
takes the application out of service, and no startup probe, so that the application never waits for it.
For a chart that depends on this one (form: parts): deploy/helm/parent shows how.
*/}}
{{- define "connector.sidecar" -}}
{{ include "connector.daemon" . }}
{{- if .Values.sidecar.native }}
restartPolicy: Always
{{- end }}
livenessProbe:
  httpGet: {path: /livez, port: connector}
  initialDelaySeconds: 30
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- end -}}

{{- define "connector.volumes" -}}
- name: connector-config
  configMap: {name: {{ include "connector.configMap" . }}}
{{- range .Values.secretFiles }}
- name: {{ printf "connector-%s" .name }}
  secret: {secretName: {{ .name }}}
{{- end }}
{{- end -}}

{{/* What cannot work is refused before anything is installed. */}}
{{- define "connector.refuse" -}}
{{- if not (or .Values.config .Values.existingConfigMap) -}}
{{- fail "no config: give --set-file 'config.connector\\.yaml=my.yaml', or existingConfigMap" -}}
{{- end -}}
{{- if and .Values.config .Values.existingConfigMap -}}
{{- fail "config and existingConfigMap: give one of them" -}}
{{- end -}}
{{- if and (eq .Values.form "sidecar") (not .Values.sidecar.containers) -}}
{{- fail "form: sidecar needs your application's containers in sidecar.containers" -}}
{{- end -}}
{{- if and (eq .Values.form "sidecar") .Values.sidecar.native (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail "sidecar.native needs Kubernetes 1.29: set sidecar.native=false" -}}
{{- end -}}
{{- if and (ne .Values.form "deployment") .Values.networkPolicy.enabled -}}
{{- fail "networkPolicy would cut off the application of the pod too: write its policy yourself, or take form: deployment" -}}
{{- end -}}
{{- if and (eq .Values.form "parts") (or .Values.keda.enabled .Values.serviceMonitor.enabled) -}}
{{- fail "form: parts has no pod to scale or to scrape: your own chart scales its pods and names their port `connector`" -}}
{{- end -}}
{{- if .Values.keda.enabled -}}
{{- if not (and .Values.kafka.bootstrapServers .Values.kafka.groupId) -}}
{{- fail "keda.enabled needs kafka.bootstrapServers and kafka.groupId: KEDA must ask for the lag of the group that the daemon is in" -}}
{{- end -}}
{{- if lt (int .Values.keda.partitions) 1 -}}
{{- fail "keda.enabled needs keda.partitions: more replicas than partitions would do nothing" -}}
{{- end -}}
{{- if lt (int .Values.keda.partitions) (int .Values.keda.minReplicas) -}}
{{- fail "keda.minReplicas is above keda.partitions: those replicas would do nothing" -}}
{{- end -}}
{{- end -}}
{{- end -}}
