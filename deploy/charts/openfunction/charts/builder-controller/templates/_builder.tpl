{{- define "builder-controller.env" -}}
{{- $settings := include "openfunction.settings" . | fromYaml -}}
{{- $helper := .Values.build.helperImage | default (include "openfunction.image" (list $settings . "build-helper")) }}
{{- $mirrors := list }}
{{- range $registry, $hosts := .Values.build.registryMirrors }}
{{- range $hosts }}
{{- $mirrors = append $mirrors (printf "%s=%s" $registry .) }}
{{- end }}
{{- end }}
{{- $images := list }}
{{- range $tool, $image := .Values.build.images }}
{{- $images = append $images (printf "%s=%s" $tool $image) }}
{{- end -}}
- name: BUILD_ENGINE
  value: {{ .Values.build.engine | quote }}
- name: BUILD_CONCURRENCY
  value: {{ .Values.build.concurrency | quote }}
- name: BUILD_CACHE
  value: {{ .Values.build.cache | quote }}
- name: BUILD_HELPER_IMAGE
  value: {{ $helper | quote }}
{{- with $images }}
- name: BUILD_IMAGES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.build.insecureRegistries }}
- name: BUILD_INSECURE_REGISTRIES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.build.proxy }}
{{- with .http }}
- name: BUILD_HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .https }}
- name: BUILD_HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .noProxy }}
- name: BUILD_NO_PROXY
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- with .Values.build.caCertificates }}
- name: BUILD_CA_CERTIFICATES
  value: {{ . | quote }}
{{- end }}
{{- with $mirrors }}
- name: BUILD_REGISTRY_MIRRORS
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{- define "builder-controller.pod" -}}
{{- end }}

{{- define "builder-controller.rules.own" -}}
{{- end }}

{{- define "builder-controller.rules.namespaced" -}}
# Builders are read, and get their status.
- apiGroups: [core.openfunction.io]
  resources: [builders]
  verbs: [get, list, watch]
- apiGroups: [core.openfunction.io]
  resources: [builders/status]
  verbs: [get, patch]
# What a build makes is owned by its Builder and holds up its deletion: with OwnerReferencesPermissionEnforcement that
# needs `update` of its finalizers.
- apiGroups: [core.openfunction.io]
  resources: [builders/finalizers]
  verbs: [update]
# Native builds run in pods, which are removed when they are no longer of use.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, delete]
# Where Shipwright is installed, it runs builds.
- apiGroups: [shipwright.io]
  resources: [buildruns]
  verbs: [list, watch, create, delete]
# A namespace can have build strategies of its own.
- apiGroups: [shipwright.io]
  resources: [buildstrategies]
  verbs: [get, list, watch]
{{- end }}

{{- define "builder-controller.rules.cluster" -}}
{{ include "openfunction.rules.conversion" "builders.core.openfunction.io" }}
# The default build strategies are applied at start; every build reads one.
- apiGroups: [shipwright.io]
  resources: [clusterbuildstrategies]
  verbs: [get, list, watch, create, patch]
# Where Shipwright is not installed, the CRDs of build strategies are made; `create` cannot be limited to a name.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [create]
{{- end }}
