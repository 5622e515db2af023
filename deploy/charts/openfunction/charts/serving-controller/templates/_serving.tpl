{{- define "serving-controller.env" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
- name: CLUSTER_DOMAIN
  value: {{ .Values.global.clusterDomain | quote }}
- name: CONFIG_MAP
  value: openfunction-config
- name: DEFAULT_RESOURCES
  value: {{ .Values.functions.resources | toJson | quote }}
- name: SECURE_POD_DEFAULTS
  value: {{ .Values.functions.securePodDefaults | quote }}
- name: KNATIVE_ENABLE_FEATURES
  value: {{ .Values.knative.enableFeatures | quote }}
- name: KNATIVE_NAMESPACE
  value: {{ .Values.knative.namespace | quote }}
- name: KEDA_HTTP_INTERCEPTOR
  value: {{ .Values.keda.httpInterceptor | quote }}
- name: DAPR_PROXY_IMAGE
  value: {{ .Values.dapr.proxy.image | default (include "openfunction.image" (list $settings . "dapr-proxy")) | quote }}
- name: DAPR_PROXY_REPLICAS
  value: {{ .Values.dapr.proxy.replicas | quote }}
- name: DAPR_PROXY_RESOURCES
  value: {{ .Values.dapr.proxy.resources | toJson | quote }}
{{- end }}

{{- define "serving-controller.pod" -}}
{{- end }}

{{- define "serving-controller.rules.own" -}}
# Settings that apply to every function.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [openfunction-config]
  verbs: [get, list, watch]
{{- end }}

{{- define "serving-controller.rules.namespaced" -}}
# Servings are read, and get their status.
- apiGroups: [core.openfunction.io]
  resources: [servings]
  verbs: [get, list, watch]
- apiGroups: [core.openfunction.io]
  resources: [servings/status]
  verbs: [get, patch]
# Workloads are owned by their Serving and hold up its deletion: with OwnerReferencesPermissionEnforcement that needs
# `update` of its finalizers.
- apiGroups: [core.openfunction.io]
  resources: [servings/finalizers]
  verbs: [update]
# A Deployment runs the function, or a StatefulSet, and a Deployment its Dapr proxy. What a revision has goes when it is
# parked.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# Functions that run as Jobs,
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# The Serving's own Service is its backend.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Engine native: a HorizontalPodAutoscaler scales it,
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# or a ScaledObject or ScaledJob where KEDA shall;
- apiGroups: [keda.sh]
  resources: [scaledobjects, scaledjobs]
  verbs: [get, list, watch, create, patch, delete]
# several replicas are not disrupted all at once.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Engine keda: an HTTPScaledObject scales it.
- apiGroups: [http.keda.sh]
  resources: [httpscaledobjects]
  verbs: [get, list, watch, create, patch, delete]
# Functions with Dapr: the components that they declare, and their policies. Components of others are read for their type.
- apiGroups: [dapr.io]
  resources: [components, resiliencies]
  verbs: [get, list, watch, create, patch, delete]
# Engine knative: a Knative Service is all there is.
- apiGroups: [serving.knative.dev]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Why a function does not start: the state of its pods, and Events of nodes that cannot begin them.
- apiGroups: [""]
  resources: [pods, events]
  verbs: [get, list, watch]
{{- end }}

{{- define "serving-controller.rules.cluster" -}}
{{ include "openfunction.rules.conversion" "servings.core.openfunction.io" }}
# Whether the cluster can tell CPU and memory of pods, which scaling by them needs.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  verbs: [list, watch]
{{- end }}
