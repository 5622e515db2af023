{{- define "events-controller.env" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
- name: EVENT_SOURCE_IMAGE
  value: {{ .Values.handlers.sourceImage | default (include "openfunction.image" (list $settings . "event-source")) | quote }}
- name: EVENT_TRIGGER_IMAGE
  value: {{ .Values.handlers.triggerImage | default (include "openfunction.image" (list $settings . "event-trigger")) | quote }}
- name: DAPR_EVENT_SOURCE_IMAGE
  value: {{ .Values.handlers.dapr.sourceImage | quote }}
- name: DAPR_EVENT_TRIGGER_IMAGE
  value: {{ .Values.handlers.dapr.triggerImage | quote }}
- name: CLUSTER_DOMAIN
  value: {{ .Values.global.clusterDomain | quote }}
- name: FIND_SINK_HOSTS
  value: {{ .Values.findSinkHosts | quote }}
{{- end }}

{{- define "events-controller.pod" -}}
{{- end }}

{{- define "events-controller.rules.own" -}}
{{- end }}

{{- define "events-controller.rules.namespaced" -}}
# The kinds of events are read, and get their status.
- apiGroups: [events.openfunction.io]
  resources: [eventsources, triggers, eventbuses]
  verbs: [get, list, watch]
- apiGroups: [events.openfunction.io]
  resources: [eventsources/status, triggers/status, eventbuses/status]
  verbs: [get, patch]
# Handlers are owned by their EventSource or Trigger and hold up its deletion: with OwnerReferencesPermissionEnforcement
# that needs `update` of its finalizers.
- apiGroups: [events.openfunction.io]
  resources: [eventsources/finalizers, triggers/finalizers]
  verbs: [update]
# Handlers are Functions; the addresses of others are read.
- apiGroups: [core.openfunction.io]
  resources: [functions]
  verbs: [get, list, watch, create, patch, delete]
# Services, and Knative Services, as sinks. What else is Addressable is granted by roles that are labelled so.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [serving.knative.dev]
  resources: [services]
  verbs: [get, list, watch]
# A Trigger reads EventSources of other namespaces where a ReferenceGrant allows it.
- apiGroups: [gateway.networking.k8s.io]
  resources: [referencegrants]
  verbs: [get, list, watch]
{{- end }}

{{- define "events-controller.rules.cluster" -}}
# A ClusterEventBus has no namespace.
- apiGroups: [events.openfunction.io]
  resources: [clustereventbuses]
  verbs: [get, list, watch]
- apiGroups: [events.openfunction.io]
  resources: [clustereventbuses/status]
  verbs: [get, patch]
# controller-runtime/src/webhook.rs: the configuration of its admission webhook gets the authority.
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [{{ .Release.Namespace }}-{{ .Chart.Name }}]
  verbs: [get, patch]
{{- end }}
