{{- define "gateway-controller.env" -}}
{{- $spec := "" }}
{{- if .Values.defaultGateway.enabled }}
{{- $spec = include "gateway-controller.default-gateway" . }}
{{- end -}}
- name: CLUSTER_DOMAIN
  value: {{ .Values.global.clusterDomain | quote }}
- name: ROUTE_SETTLE_TIME
  value: {{ .Values.routeSettleTime | quote }}
- name: GATEWAY_MOVE_TIME
  value: {{ .Values.gatewayMoveTime | quote }}
{{- with .Values.trustedNamespaces }}
- name: TRUSTED_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: BACKEND_NAMESPACES
  value: {{ join "," .Values.backendNamespaces | quote }}
- name: REQUEST_TIMEOUT
  value: {{ .Values.requestTimeout | quote }}
{{- if .Values.legacyEntry }}
- name: LEGACY_ENTRY
  value: "true"
{{- end }}
- name: DEFAULT_GATEWAY_NAME
  value: {{ .Values.global.defaultGatewayName | quote }}
# The spec of the default OpenFunction Gateway; empty is none.
- name: DEFAULT_GATEWAY
  value: {{ $spec | quote }}
{{- end }}

{{- /* The spec of the default OpenFunction Gateway, as JSON. What is absent gets the default of the CRD. */}}
{{- define "gateway-controller.default-gateway" -}}
{{- $gateway := .Values.defaultGateway -}}
{{- $spec := pick .Values.global "domain" -}}
{{- /* What is found out by the controller is written by it. */}}
{{- if ne .Values.global.clusterDomain "auto" }}{{ $_ := set $spec "clusterDomain" .Values.global.clusterDomain }}{{ end -}}
{{- $_ := set $spec "gatewaySpec" (pick $gateway "listeners") -}}
{{- range $field := list "hostTemplate" "pathTemplate" "httpRouteLabelKey" -}}
{{- with get $gateway $field }}{{ $_ := set $spec $field . }}{{ end -}}
{{- end -}}
{{- with $gateway.httpsRedirect }}{{ $_ := set $spec "httpsRedirect" . }}{{ end -}}
{{- include "gateway-controller.kubernetes-gateway" . | fromYaml | merge $spec | toJson -}}
{{- end }}

{{- /* The Kubernetes Gateway of the default OpenFunction Gateway: `gatewayRef` or `gatewayDef`. */}}
{{- define "gateway-controller.kubernetes-gateway" -}}
{{- $gateway := .Values.defaultGateway -}}
{{- $definition := deepCopy $gateway.gatewayDef -}}
{{- with $gateway.className }}{{ $_ := set $definition "gatewayClassName" . }}{{ end -}}
{{- if and $gateway.gatewayRef $definition -}}
{{- fail "gateway-controller.defaultGateway: set either gatewayRef, or className and gatewayDef" -}}
{{- else if $definition -}}
{{- if not $definition.gatewayClassName -}}
{{- fail "gateway-controller.defaultGateway: a Kubernetes Gateway cannot be made without className" -}}
{{- end -}}
gatewayDef:
  {{- merge $definition (dict "namespace" .Release.Namespace) | toYaml | nindent 2 }}
{{- else -}}
gatewayRef:
  {{- $gateway.gatewayRef | default (dict "name" "contour" "namespace" "projectcontour") | toYaml | nindent 2 }}
{{- end -}}
{{- end }}

{{- define "gateway-controller.pod" -}}
{{- end }}

{{- define "gateway-controller.rules.own" -}}
# `gateway-controller delete-default-gateway`, which runs before this chart is uninstalled.
- apiGroups: [networking.openfunction.io]
  resources: [gateways]
  resourceNames: [{{ .Values.global.defaultGatewayName | quote }}]
  verbs: [delete]
# The default OpenFunction Gateway is in this namespace, which need not be one of `watchNamespaces`.
{{ include "gateway-controller.rules.gateways" . }}
{{ include "openfunction.rules.namespaced" . }}
{{- end }}

{{- define "gateway-controller.rules.namespaced" -}}
# Functions are read, and get route, addresses and RouteReady in their status.
- apiGroups: [core.openfunction.io]
  resources: [functions]
  verbs: [get, list, watch]
- apiGroups: [core.openfunction.io]
  resources: [functions/status]
  verbs: [get, patch]
# HTTPRoutes and Services are owned by their Function and hold up its deletion: with
# OwnerReferencesPermissionEnforcement that needs `update` of its finalizers.
- apiGroups: [core.openfunction.io]
  resources: [functions/finalizers]
  verbs: [update]
# A Function's routes.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# Routes to backends in other namespaces, and certificates of Functions that a Gateway reads.
- apiGroups: [gateway.networking.k8s.io]
  resources: [referencegrants]
  verbs: [get, list, watch, create, patch, delete]
{{ include "gateway-controller.rules.gateways" . }}
{{- end }}

{{- /* What an OpenFunction Gateway needs where it is. */}}
{{- define "gateway-controller.rules.gateways" -}}
# OpenFunction Gateways are read; the default one is made; each gets a finalizer, and an annotation with what was
# applied.
- apiGroups: [networking.openfunction.io]
  resources: [gateways]
  verbs: [get, list, watch, create, patch, update]
- apiGroups: [networking.openfunction.io]
  resources: [gateways/status]
  verbs: [get, patch]
# The Service `gateway` is owned by its OpenFunction Gateway and holds up its deletion.
- apiGroups: [networking.openfunction.io]
  resources: [gateways/finalizers]
  verbs: [update]
{{ include "gateway-controller.rules.kubernetes-gateways" . }}
# The Services `gateway` and `<function>`: the public entries, in the cluster, of a gateway and of a function.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# The same for a gateway that has only addresses.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch, delete]
# OpenShift asks for this when an EndpointSlice names addresses of the pod or service network.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices/restricted]
  verbs: [create]
{{- end }}

{{- define "gateway-controller.rules.kubernetes-gateways" -}}
# Kubernetes Gateways, or ListenerSets beside them, get the listeners of OpenFunction Gateways; those of `gatewayDef` are
# made and removed.
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, listenersets]
  verbs: [get, list, watch, create, patch, delete]
# Whether an OpenFunction Gateway of another namespace may use them.
- apiGroups: [gateway.networking.k8s.io]
  resources: [referencegrants]
  verbs: [get, list, watch]
{{- end }}

{{- define "gateway-controller.rules.cluster" -}}
# What the implementation of a Gateway supports.
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
{{- end }}
