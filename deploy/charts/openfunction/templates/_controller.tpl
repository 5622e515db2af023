{{- /*
One controller, whatever it reconciles. A sub-chart calls `openfunction.controller` and defines, under its own name,
what is different:

  <controller>.env               environment variables of its own
  <controller>.pod               `volumes`, their `mounts`, `ports` and `annotations` of its own
  <controller>.rules.own         permissions in the namespace of the release, beside lease and certificates
  <controller>.rules.namespaced  permissions in the namespaces that it works in
  <controller>.rules.cluster     permissions on what has no namespace

All take the sub-chart's context; each may be empty.
*/}}

{{- define "openfunction.controller" -}}
{{ include "openfunction.rbac" . }}
---
{{ include "openfunction.service" . }}
---
{{ include "openfunction.deployment" . }}
{{- include "openfunction.disruption-budget" . }}
{{- include "openfunction.service-monitor" . }}
{{- end }}

{{- /* The values of a controller: `global`, and over it what is set for this controller alone. Maps are merged. */}}
{{- define "openfunction.settings" -}}
{{- $settings := omit .Values "global" | deepCopy }}
{{- range $name, $common := .Values.global }}
{{- $own := get $settings $name }}
{{- if not (hasKey $settings $name) }}
{{- $_ := set $settings $name $common }}
{{- else if and (kindIs "map" $common) (kindIs "map" $own) }}
{{- $_ := set $settings $name (mergeOverwrite (deepCopy $common) $own) }}
{{- end }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- define "openfunction.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "openfunction.labels" -}}
{{ include "openfunction.selector" . }}
{{ include "openfunction.common-labels" . }}
{{- end }}

{{- /* Labels without those that select pods. */}}
{{- define "openfunction.common-labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: openfunction
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Metadata of an object that is named like the controller and lies in the namespace of the release. */}}
{{- define "openfunction.metadata" -}}
name: {{ .Chart.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "openfunction.labels" . | nindent 2 }}
{{- end }}

{{- /* An image of ours: a list of the settings, the chart's context and the image's name. */}}
{{- define "openfunction.image" -}}
{{- $image := (index . 0).image }}
{{- $tag := $image.tag | default (index . 1).Chart.AppVersion }}
{{- list $image.registry $image.repository (index . 2) | compact | join "/" }}:{{ $tag }}
{{- end }}

{{- define "openfunction.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "openfunction.metadata" . | nindent 2 }}
spec:
  # Conversion must answer before the first list, so before the controller is ready.
  publishNotReadyAddresses: true
  selector:
    {{- include "openfunction.selector" . | nindent 4 }}
  ports:
    # Where the API server looks for admission and conversion webhooks.
    - name: https
      port: 443
      targetPort: webhook
    # gRPC over TLS.
    - name: status
      port: 9090
      targetPort: status
    - name: metrics
      port: 8080
      targetPort: metrics
{{- end }}

{{- define "openfunction.deployment" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "openfunction.metadata" . | nindent 2 }}
spec:
  replicas: {{ $settings.replicas }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      # The new pod serves webhooks and waits for the lease, so the old one goes only when its successor is ready.
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "openfunction.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "openfunction.labels" . | nindent 8 }}
        {{- with $settings.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- $own := include (printf "%s.pod" .Chart.Name) . | fromYaml }}
      {{- with merge (deepCopy ($settings.podAnnotations | default dict)) ($own.annotations | default dict) }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "openfunction.pod" . | nindent 6 }}
      # Running work has 20 s to end (GRACE_PERIOD); webhooks answer a little longer.
      terminationGracePeriodSeconds: 30
      containers:
        - {{ include "openfunction.container" . | nindent 10 | trim }}
          ports:
            - name: metrics
              containerPort: 8080
            - name: status
              containerPort: 9090
            - name: webhook
              containerPort: 9443
            {{- with $own.ports }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          livenessProbe:
            httpGet:
              path: /live
              port: metrics
            periodSeconds: 10
            timeoutSeconds: 5
          readinessProbe:
            httpGet:
              path: /ready
              port: metrics
            periodSeconds: 5
{{- end }}

{{- /* What a pod that runs a controller's image has, apart from its containers. */}}
{{- define "openfunction.pod" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
serviceAccountName: {{ .Chart.Name }}
{{- with $settings.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- with $settings.podSecurityContext }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  runAsNonRoot: true
  runAsUser: 65532
  seccompProfile:
    type: RuntimeDefault
  {{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
{{- with get $settings $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- $own := include (printf "%s.pod" .Chart.Name) . | fromYaml }}
{{- with concat ($own.volumes | default list) ($settings.extraVolumes | default list) }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A container of a controller's image, without ports and probes. */}}
{{- define "openfunction.container" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
name: {{ .Chart.Name }}
image: {{ include "openfunction.image" (list $settings . .Chart.Name) | quote }}
imagePullPolicy: {{ $settings.image.pullPolicy }}
securityContext:
  {{- with $settings.securityContext }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  {{- end }}
{{- with $settings.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "openfunction.env" . | nindent 2 }}
{{- $own := include (printf "%s.pod" .Chart.Name) . | fromYaml }}
{{- with concat ($own.mounts | default list) ($settings.extraVolumeMounts | default list) }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Every flag of a controller is an environment variable, too: docs/reference/process.md. */}}
{{- define "openfunction.env" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: SERVICE_NAME
  value: {{ .Chart.Name }}
- name: LOG_FORMAT
  value: {{ $settings.log.format | quote }}
- name: LOG_FILTER
  value: {{ $settings.log.filter | quote }}
- name: CONCURRENCY
  value: {{ $settings.concurrency | int | quote }}
{{- with $settings.watchNamespaces }}
- name: WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- with $settings.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with include (printf "%s.env" .Chart.Name) . | trim }}
{{ . }}
{{- end }}
{{- with $settings.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "openfunction.disruption-budget" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
{{- if gt (int $settings.replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "openfunction.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  # A pod that is not ready holds up no drained node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "openfunction.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "openfunction.service-monitor" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
{{- $monitor := $settings.metrics.serviceMonitor -}}
{{- if and $monitor.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "openfunction.metadata" . | nindent 2 }}
    {{- with $monitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "openfunction.selector" . | nindent 6 }}
  endpoints:
    - port: metrics
      path: /metrics
      {{- with $monitor.interval }}
      interval: {{ . }}
      {{- end }}
{{- end }}
{{- end }}
