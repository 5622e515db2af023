{{- /*
Who a controller is and what it may do:

  Role         <controller>                                what it keeps in its own namespace
  ClusterRole  <release namespace>-<controller>            what it does in the namespaces that it works in: bound in the
                                                           whole cluster, or in each namespace of `watchNamespaces`
  ClusterRole  <release namespace>-<controller>-cluster    what has no namespace

The names of cluster roles begin with the namespace, so that two installations do not meet.
*/}}
{{- define "openfunction.rbac" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
{{- $wide := printf "%s-%s" .Release.Namespace .Chart.Name -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "openfunction.metadata" . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "openfunction.metadata" . | nindent 2 }}
rules:
  {{- include "openfunction.rules.own" . | nindent 2 }}
  {{- with include (printf "%s.rules.own" .Chart.Name) . | trim }}
  {{- nindent 2 . }}
  {{- end }}
---
{{ include "openfunction.binding" (list . "Role" .Chart.Name .Release.Namespace) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $wide }}
  labels:
    {{- include "openfunction.labels" . | nindent 4 }}
rules:
  {{- include "openfunction.rules.namespaced" . | nindent 2 }}
  {{- with include (printf "%s.rules.namespaced" .Chart.Name) . | trim }}
  {{- nindent 2 . }}
  {{- end }}
{{- range $settings.watchNamespaces }}
---
{{ include "openfunction.binding" (list $ "ClusterRole" $wide .) }}
{{- else }}
---
{{ include "openfunction.binding" (list . "ClusterRole" $wide "") }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $wide }}-cluster
  labels:
    {{- include "openfunction.labels" . | nindent 4 }}
rules:
  {{- include "openfunction.rules.cluster" . | nindent 2 }}
  {{- with include (printf "%s.rules.cluster" .Chart.Name) . | trim }}
  {{- nindent 2 . }}
  {{- end }}
---
{{ include "openfunction.binding" (list . "ClusterRole" (printf "%s-cluster" $wide) "") }}
{{- end }}

{{- /* Binds a role to the controller: a list of the chart's context, the role's kind and name, and a namespace; without
a namespace it is bound in the whole cluster. */}}
{{- define "openfunction.binding" -}}
{{- $chart := index . 0 -}}
{{- $namespace := index . 3 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $namespace }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  name: {{ index . 2 }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "openfunction.labels" $chart | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 1 }}
  name: {{ index . 2 }}
subjects:
  - kind: ServiceAccount
    name: {{ $chart.Chart.Name }}
    namespace: {{ $chart.Release.Namespace }}
{{- end }}

{{- /* What every controller keeps in its own namespace. `create` cannot be limited to a name. */}}
{{- define "openfunction.rules.own" -}}
# controller-runtime/src/lease.rs: the Lease is made by the first replica,
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# held by one of them, and watched by the others.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ .Chart.Name }}]
  verbs: [get, list, watch, update]
# controller-runtime/src/certificates.rs: the Secret with authority and serving certificate is made,
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# renewed, and watched by all replicas. No other Secret of this namespace can be read.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Chart.Name }}-certificates]
  verbs: [get, list, watch, update]
# controller-runtime/src/process.rs: the ConfigMap with the authority of the status API is made
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
# and renewed.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ .Chart.Name }}-status-ca]
  verbs: [get, patch]
{{- end }}

{{- /* What every controller does in the namespaces that it works in. */}}
{{- define "openfunction.rules.namespaced" -}}
# controller-runtime/src/events.rs: Events of transitions; equal ones are counted up.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* What every controller does to objects without a namespace. */}}
{{- define "openfunction.rules.cluster" -}}
# controller-runtime/src/optional.rs: which optional APIs the cluster has.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
# controller-runtime/src/status_api.rs: who calls the status API,
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# and what the caller may read.
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{- /* For a controller that converts a kind: the name of its CRD. */}}
{{- define "openfunction.rules.conversion" -}}
# controller-runtime/src/webhook.rs: the CRD gets the authority of its conversion webhook.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [{{ . }}]
  verbs: [get, patch]
# controller-runtime/src/storage.rs: no object is stored as an older version any more.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions/status]
  resourceNames: [{{ . }}]
  verbs: [patch]
{{- end }}
