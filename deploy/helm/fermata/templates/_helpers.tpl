{{/* What the objects of all components have in common. The reasons stand in deploy/kustomize/base. */}}

{{/* Labels of what belongs to a component. */}}
{{- define "fermata.labels" -}}
{{ include "fermata.selector" . }}
app.kubernetes.io/part-of: fermata
{{- end }}

{{/* By which a component's pods are chosen: these never change. */}}
{{- define "fermata.selector" -}}
app.kubernetes.io/name: fermata
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* A pod without rights. */}}
{{- define "fermata.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* A container without rights. */}}
{{- define "fermata.container" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}
image: {{ $image.repository }}@{{ $image.digest }}
{{- else }}
image: {{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
envFrom:
  - configMapRef:
      name: fermata
  - secretRef:
      name: {{ .Values.secrets.store }}
      optional: true
startupProbe:
  httpGet: {path: /startedz, port: probes}
  periodSeconds: 5
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: probes}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /livez, port: probes}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Variables of every container. */}}
{{- define "fermata.env" -}}
- name: FERMATA_REDIS
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secrets.redis }}
      key: url
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The account of a component, and how many of its pods may be away: (list $ "worker" "25%"). */}}
{{- define "fermata.account" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: fermata-{{ $component }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "fermata.labels" $component | nindent 4 }}
  {{- with $.Values.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: fermata-{{ $component }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "fermata.labels" $component | nindent 4 }}
spec:
  maxUnavailable: {{ index . 2 }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "fermata.selector" $component | nindent 6 }}
{{- end }}
