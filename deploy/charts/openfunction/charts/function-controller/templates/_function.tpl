{{- define "function-controller.env" -}}
- name: HTTP_ENGINE
  value: {{ .Values.httpEngine | quote }}
- name: ROUTE_GRACE_PERIOD
  value: {{ .Values.routeGracePeriod | quote }}
- name: DEFAULT_GATEWAY_NAME
  value: {{ .Values.global.defaultGatewayName | quote }}
{{- end }}

{{- define "function-controller.pod" -}}
{{- end }}

{{- define "function-controller.rules.own" -}}
{{- end }}

{{- define "function-controller.rules.namespaced" -}}
# Functions are read, and get their status.
- apiGroups: [core.openfunction.io]
  resources: [functions]
  verbs: [get, list, watch]
- apiGroups: [core.openfunction.io]
  resources: [functions/status]
  verbs: [get, patch]
# Builders and Servings are owned by their Function and hold up its deletion: with OwnerReferencesPermissionEnforcement
# that needs `update` of its finalizers.
- apiGroups: [core.openfunction.io]
  resources: [functions/finalizers]
  verbs: [update]
# A Function becomes Builders and Servings, and old ones go.
- apiGroups: [core.openfunction.io]
  resources: [builders, servings]
  verbs: [get, list, watch, create, patch, delete]
# An old Serving goes once no HTTPRoute of its Function exists; only metadata is read.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [list, watch]
{{- end }}

{{- define "function-controller.rules.cluster" -}}
{{ include "openfunction.rules.conversion" "functions.core.openfunction.io" }}
# controller-runtime/src/webhook.rs: so do the configurations of its admission webhooks.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations]
  resourceNames: [{{ .Release.Namespace }}-{{ .Chart.Name }}]
  verbs: [get, patch]
{{- end }}
