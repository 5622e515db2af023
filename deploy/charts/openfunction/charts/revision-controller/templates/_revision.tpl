{{- define "revision-controller.env" -}}
- name: GIT_INTERVAL
  value: {{ .Values.gitInterval | quote }}
- name: REGISTRY_INTERVAL
  value: {{ .Values.registryInterval | quote }}
- name: MIN_INTERVAL
  value: {{ .Values.minInterval | quote }}
{{- with .Values.allowedNetworks }}
- name: ALLOWED_NETWORKS
  value: {{ join "," . | quote }}
{{- end }}
{{- if .Values.caCertificates }}
- name: TRUSTED_CERTIFICATES
  value: /etc/openfunction/authorities/ca.crt
{{- end }}
{{- if .Values.webhooks.secretName }}
- name: RECEIVER_SECRET
  value: /etc/openfunction/webhooks/{{ .Values.webhooks.secretKey }}
{{- end }}
{{- with .Values.proxy }}
{{- with .http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .noProxy }}
- name: NO_PROXY
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "revision-controller.pod" -}}
volumes:
  # Keys of ssh, while they are used.
  - name: tmp
    emptyDir:
      medium: Memory
      sizeLimit: 16Mi
  {{- if .Values.caCertificates }}
  - name: authorities
    configMap:
      name: {{ .Chart.Name }}-authorities
  {{- end }}
  {{- with .Values.webhooks.secretName }}
  - name: webhooks
    secret:
      secretName: {{ . }}
  {{- end }}
mounts:
  - name: tmp
    mountPath: /tmp
  {{- if .Values.caCertificates }}
  - name: authorities
    mountPath: /etc/openfunction/authorities
    readOnly: true
  {{- end }}
  {{- if .Values.webhooks.secretName }}
  - name: webhooks
    mountPath: /etc/openfunction/webhooks
    readOnly: true
  {{- end }}
ports:
  - name: receiver
    containerPort: 8082
{{- with .Values.caCertificates }}
annotations:
  # They are read at start.
  checksum/authorities: {{ sha256sum . }}
{{- end }}
{{- end }}

{{- define "revision-controller.rules.own" -}}
{{- end }}

{{- define "revision-controller.rules.namespaced" -}}
# What functions follow is read, and what was found is told in their status. Nothing else of them is written.
- apiGroups: [core.openfunction.io]
  resources: [functions]
  verbs: [get, list, watch]
- apiGroups: [core.openfunction.io]
  resources: [functions/status]
  verbs: [get, patch]
{{- end }}

{{- define "revision-controller.rules.cluster" -}}
# controller-runtime/src/webhook.rs: the configuration of its admission webhook gets the authority.
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [{{ .Release.Namespace }}-{{ .Chart.Name }}]
  verbs: [get, patch]
{{- end }}
