{{/* Names are fixed: the code looks for them, and there is one installation in a namespace. */}}

{{- define "agent-pool.labels" -}}
app.kubernetes.io/name: agent-pool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: agent-pool
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "agent-pool.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What the Pod Security Standard `restricted` asks of a pod. */}}
{{- define "agent-pool.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* And of a container. */}}
{{- define "agent-pool.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Variables that both processes take. */}}
{{- define "agent-pool.env" -}}
- name: HOST
  value: {{ .Values.host | quote }}
- name: LOG_FORMAT
  value: json
- name: LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end }}

{{- define "agent-pool.ownNamespace" -}}
- name: POOL_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}

{{/* Where a pod may run. Takes a dict: component, and its part of the values. */}}
{{- define "agent-pool.scheduling" -}}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if gt (int .values.replicas) 1 }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        app.kubernetes.io/name: agent-pool
        app.kubernetes.io/component: {{ $.component }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What the controller may do with the three kinds, and its events. */}}
{{- define "agent-pool.controllerKinds" -}}
- apiGroups: [pool.convos.org]
  resources: [agentpools]
  verbs: [get, list, watch, create, patch]
- apiGroups: [pool.convos.org]
  resources: [agentpools/status, agentclaims/status, agentinstances/status]
  verbs: [patch]
- apiGroups: [pool.convos.org]
  resources: [agentclaims]
  verbs: [get, list, watch]
- apiGroups: [pool.convos.org]
  resources: [agentinstances]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
