{{- define "cohort.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "cohort.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "cohort.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "cohort.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cohort.selector" -}}
app.kubernetes.io/name: {{ include "cohort.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cohort.labels" -}}
{{ include "cohort.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cohort.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cohort.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "cohort.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "cohort.source" -}}
{{- dig "source" "kind" "embedded" .Values.config -}}
{{- end -}}

{{/* A value as TOML has it, on one line. toToml makes floats of integers. */}}
{{- define "cohort.value" -}}
{{- if kindIs "map" . -}}
{ {{ range $i, $key := keys . | sortAlpha }}{{ if $i }}, {{ end }}{{ $key | toJson }} = {{ include "cohort.value" (get $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "cohort.value" $item }}{{ end }}]
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ int64 . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* cohort.toml */}}
{{- define "cohort.toml" -}}
{{- $tokens := list -}}
{{- range .Values.tokens.list -}}
{{- $tokens = append $tokens (dict "name" .name "role" .role "secret_file" (printf "/etc/cohort/tokens/%s" .key)) -}}
{{- end -}}
{{- $server := merge (dict "listen" "0.0.0.0:8080" "tokens" $tokens) (.Values.config.server | default dict) -}}
{{- $config := merge (dict "server" $server) (omit .Values.config "sinks") -}}
data = "/var/lib/cohort"
{{- range $section := keys $config | sortAlpha }}

[{{ $section }}]
{{- $table := get $config $section }}
{{- range $key := keys $table | sortAlpha }}
{{ $key }} = {{ include "cohort.value" (get $table $key) }}
{{- end }}
{{- end }}
{{- range $sink := .Values.config.sinks }}

[[sinks]]
{{- range $key := keys $sink | sortAlpha }}
{{ $key }} = {{ include "cohort.value" (get $sink $key) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What would start and then go wrong. */}}
{{- define "cohort.checks" -}}
{{- $several := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- if and $several (not (has (include "cohort.source" .) (list "kafka" "results"))) -}}
{{- fail "replicas, autoscaling: more than one member takes config.source.kind kafka or results; others would each have events and members of their own" -}}
{{- end -}}
{{- $catalog := or (hasKey .Values.secretEnv "COHORT_CATALOG__URL") (hasPrefix "postgres" (dig "catalog" "url" "" .Values.config)) -}}
{{- if and $several (not $catalog) -}}
{{- fail "replicas, autoscaling: more than one member takes a PostgreSQL they share: config.catalog.url, or COHORT_CATALOG__URL in secretEnv" -}}
{{- end -}}
{{- if and $several (not (dig "checkpoint" "url" "" .Values.config)) -}}
{{- fail "replicas, autoscaling: more than one member takes checkpoints they share: config.checkpoint.url" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (or .Values.autoscaling.lag.enabled .Values.autoscaling.cpu.enabled)) -}}
{{- fail "autoscaling: enable lag, cpu or both" -}}
{{- end -}}
{{- if and (not .Values.persistence.enabled) (eq (include "cohort.source" .) "embedded") -}}
{{- fail "persistence: the embedded log of events must outlive the pod" -}}
{{- end -}}
{{- end -}}
