//! The edits.

use super::Edit::{Add, Drop, Remove, Set};
use super::{Edit, Mutation};

const PROD: &str = "overlays/prod";
const DEV: &str = "overlays/dev";
const WORKER: &str = "Deployment/fermata-worker";
const SCHEDULER: &str = "Deployment/fermata-scheduler";
const DASHBOARD: &str = "Deployment/fermata-dashboard";

/// Of the worker in production.
const fn worker(rule: &'static str, edit: Edit) -> Mutation {
    on(PROD, rule, WORKER, edit)
}

/// In production.
const fn prod(rule: &'static str, object: &'static str, edit: Edit) -> Mutation {
    on(PROD, rule, object, edit)
}

const fn on(on: &'static str, rule: &'static str, object: &'static str, edit: Edit) -> Mutation {
    Mutation { rule, on, object, edit }
}

/// In the order of the rules; the restricted standard has a row for each of its fields.
pub(crate) const MUTATIONS: &[Mutation] = &[
    worker("restricted", Set("@pod/hostNetwork", "true")),
    worker("restricted", Set("@pod/hostPID", "true")),
    worker("restricted", Set("@pod/hostIPC", "true")),
    worker("restricted", Set("@pod/volumes/1", "{name: tmp, hostPath: {path: /tmp}}")),
    worker("restricted", Set("@pod/securityContext/sysctls", "[{name: kernel.msgmax, value: '1'}]")),
    worker("restricted", Set("@pod/securityContext/windowsOptions", "{hostProcess: true}")),
    worker("restricted", Set("@pod/securityContext/appArmorProfile", "{type: Unconfined}")),
    worker("restricted", Set("@pod/securityContext/seLinuxOptions", "{type: spc_t}")),
    worker("restricted", Set("@pod/securityContext/seLinuxOptions", "{user: system_u}")),
    worker("restricted", Set("@pod/securityContext/seLinuxOptions", "{role: system_r}")),
    worker("restricted", Remove("@pod/securityContext/runAsNonRoot")),
    worker("restricted", Set("@container/securityContext/runAsNonRoot", "false")),
    worker("restricted", Remove("@pod/securityContext/seccompProfile")),
    worker("restricted", Set("@container/securityContext/seccompProfile", "{type: Unconfined}")),
    worker("restricted", Set("@container/securityContext/privileged", "true")),
    worker("restricted", Remove("@container/securityContext/allowPrivilegeEscalation")),
    worker("restricted", Set("@container/securityContext/procMount", "Unmasked")),
    worker("restricted", Remove("@container/securityContext/capabilities")),
    worker("restricted", Set("@container/securityContext/capabilities/add", "[NET_RAW]")),
    worker("restricted", Set("@container/ports/0/hostPort", "9464")),
    worker("restricted", Set("@container/livenessProbe/httpGet/host", "169.254.169.254")),
    on("one-machine", "restricted", "CronJob/fermata-backup", Set("@pod/hostPID", "true")),
    worker("user", Set("@pod/securityContext/runAsUser", "1000")),
    worker("user", Remove("@pod/securityContext/runAsGroup")),
    worker("user", Set("@container/securityContext/runAsUser", "65533")),
    worker("read-only-root", Remove("@container/securityContext/readOnlyRootFilesystem")),
    worker("sized-empty-dirs", Remove("@pod/volumes/1/emptyDir/sizeLimit")),
    worker("no-api-token", Remove("@pod/automountServiceAccountToken")),
    prod("no-api-token", "ServiceAccount/fermata-worker", Remove("/automountServiceAccountToken")),
    worker("no-service-links", Remove("@pod/enableServiceLinks")),
    worker("requests", Remove("@container/resources/requests/ephemeral-storage")),
    worker("requests", Set("@container/resources/requests/cpu", "much")),
    worker("memory-limit", Remove("@container/resources/limits")),
    worker("no-cpu-limit", Set("@container/resources/limits/cpu", "'2'")),
    worker("within-limits", Set("@container/resources/requests/memory", "2Gi")),
    prod("room", DASHBOARD, Set("@container/resources/limits/ephemeral-storage", "128Mi")),
    worker("probes", Remove("@container/startupProbe")),
    worker("probes", Set("@container/livenessProbe/httpGet/path", "/readyz")),
    on("components/redis", "probes", "StatefulSet/fermata-redis", Remove("@container/livenessProbe")),
    worker("grace", Set("@pod/terminationGracePeriodSeconds", "54")),
    worker("grace", Set("@container/args/5", "--stop-timeout=40")),
    worker("grace", Set("@container/lifecycle/preStop/exec/command/3", "--wait=60")),
    worker("grace", Remove("@container/lifecycle")),
    worker("slices", Set("@container/lifecycle/preStop/exec/command/3", "--wait=34")),
    worker("slices", Remove("@container/lifecycle/preStop/exec/command/3")),
    worker("slices", Set("@container/args/4", "--slice=31")),
    prod("grace", SCHEDULER, Set("@pod/terminationGracePeriodSeconds", "10")),
    worker("spread", Remove("@pod/topologySpreadConstraints/1")),
    worker(
        "spread",
        Set("@pod/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1component", "wroker"),
    ),
    worker("upgrades", Set("/spec/strategy/rollingUpdate/maxUnavailable", "25%")),
    worker("upgrades", Set("/spec/strategy/type", "Recreate")),
    prod("one-dashboard", DASHBOARD, Set("/spec/replicas", "2")),
    prod("one-dashboard", DASHBOARD, Set("/spec/strategy/type", "RollingUpdate")),
    worker("one-owner-of-replicas", Set("/spec/replicas", "3")),
    on("components/hpa", "one-owner-of-replicas", WORKER, Set("/spec/replicas", "3")),
    prod(
        "scale-down",
        "ScaledObject/fermata-worker",
        Set("/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds", "60"),
    ),
    on(
        "components/hpa",
        "scale-down",
        "HorizontalPodAutoscaler/fermata-worker",
        Set("/spec/behavior/scaleDown/policies/0/value", "4"),
    ),
    prod("fallback", "ScaledObject/fermata-worker", Remove("/spec/fallback")),
    prod("fallback", "ScaledObject/fermata-worker", Set("/spec/fallback/behavior", "static")),
    prod("fallback", "ScaledObject/fermata-worker", Set("/spec/triggers/0/metricType", "Value")),
    prod("drains", "PodDisruptionBudget/fermata-worker", Set("/spec/minAvailable", "1")),
    prod("drains", "PodDisruptionBudget/fermata-worker", Remove("/spec/maxUnavailable")),
    prod("drains", "PodDisruptionBudget/fermata-dashboard", Set("/spec/maxUnavailable", "0")),
    prod("drains", "PodDisruptionBudget/fermata-worker", Remove("/spec/unhealthyPodEvictionPolicy")),
    on("one-machine", "ends", "CronJob/fermata-backup", Remove("/spec/jobTemplate/spec/activeDeadlineSeconds")),
    on("one-machine", "ends", "CronJob/fermata-backup", Remove("/spec/jobTemplate/spec/backoffLimit")),
    on("one-machine", "ends", "CronJob/fermata-prune", Set("@pod/restartPolicy", "OnFailure")),
    on(DEV, "ends", "Job/fermata-init", Set("/spec/backoffLimit", "100")),
    on("one-machine", "cron", "CronJob/fermata-backup", Set("/spec/concurrencyPolicy", "Allow")),
    on("one-machine", "cron", "CronJob/fermata-backup", Remove("/spec/startingDeadlineSeconds")),
    on("one-machine", "cron", "CronJob/fermata-prune", Set("/spec/failedJobsHistoryLimit", "0")),
    on("one-machine", "cron", "CronJob/fermata-prune", Remove("/spec/timeZone")),
    worker("own-pods", Set("/spec/selector/matchLabels/app.kubernetes.io~1component", "wroker")),
    worker("own-pods", Set("/spec/selector/matchLabels/app.kubernetes.io~1component", "scheduler")),
    prod(
        "services",
        "Service/fermata-scheduler",
        Set("/spec/selector", "{app.kubernetes.io/name: fermata, app.kubernetes.io/component: dashboard-2}"),
    ),
    prod("budgets", "PodDisruptionBudget/fermata-worker", Drop),
    prod(
        "budgets",
        "PodDisruptionBudget/fermata-worker",
        Set("/spec/selector/matchLabels/app.kubernetes.io~1component", "scheduler"),
    ),
    prod(
        "policies",
        "NetworkPolicy/fermata-metrics",
        Set(
            "/spec/ingress/0/from/-",
            "{podSelector: {matchLabels: {app.kubernetes.io/name: fermata, app.kubernetes.io/component: prometheus}}}",
        ),
    ),
    prod("policies", "NetworkPolicy/fermata-redis", Set("/spec/podSelector/matchLabels/app.kubernetes.io~1name", "redis")),
    prod("scale-targets", "ScaledObject/fermata-worker", Set("/spec/scaleTargetRef/name", "fermata-workers")),
    prod("accounts", "ServiceAccount/fermata-worker", Drop),
    worker("accounts", Set("@pod/serviceAccountName", "default")),
    worker("mounts", Set("@container/volumeMounts/1/name", "temp")),
    worker("mounts", Set("@container/volumeMounts/-", "{name: tmp, mountPath: /tmp}")),
    worker("keys", Set("@container/env/0/valueFrom/secretKeyRef/key", "address")),
    worker("keys", Set("@container/envFrom/0/configMapRef/name", "fermata-config")),
    worker("keys", Set("@pod/volumes/0/secret/secretName", "fermata-keys")),
    prod("keys", "Ingress/fermata-dashboard", Set("/spec/tls/0/secretName", "fermata-cert")),
    on(
        "components/external-secrets",
        "external-secrets",
        "ExternalSecret/fermata-redis",
        Set("/spec/data/0/secretKey", "address"),
    ),
    on(
        "components/external-secrets",
        "external-secrets",
        "ExternalSecret/fermata-redis",
        Set("/spec/target", "{name: fermata-queue}"),
    ),
    prod("monitors", "PodMonitor/fermata", Set("/spec/selector/matchLabels/app.kubernetes.io~1component", "worker")),
    prod("ports", "Service/fermata-scheduler", Set("/spec/ports/0/targetPort", "admin")),
    worker("ports", Set("@container/livenessProbe/httpGet/port", "9465")),
    prod("ports", "PodMonitor/fermata", Set("/spec/podMetricsEndpoints/0/port", "metrics")),
    prod(
        "ports",
        "Ingress/fermata-dashboard",
        Set("/spec/rules/0/http/paths/0/backend/service/port", "{name: https}"),
    ),
    worker("listens", Set("@container/args/2", "--listen=0.0.0.0:9465")),
    prod(
        "scale-address",
        "ScaledObject/fermata-worker",
        Set("/spec/triggers/0/metadata/url", "http://fermata-scheduler.fermata.svc:8080/scale"),
    ),
    prod(
        "scale-address",
        "ScaledObject/fermata-worker",
        Set("/spec/triggers/0/metadata/url", "http://fermata-scheduler.default.svc:9464/scale"),
    ),
    prod("doors", "NetworkPolicy/fermata-metrics", Drop),
    prod("doors", "NetworkPolicy/fermata-page", Set("/spec/ingress/0/ports/0/port", "probes")),
    on(DEV, "doors", "NetworkPolicy/fermata-redis-in", Drop),
    prod("tls", "Ingress/fermata-dashboard", Set("/spec/rules/0/host", "fermata.example.org")),
    prod("tls", "Ingress/fermata-dashboard", Remove("/spec/tls")),
    prod("default-deny", "NetworkPolicy/fermata-deny", Set("/spec/policyTypes", "[Ingress]")),
    prod("default-deny", "NetworkPolicy/fermata-deny", Set("/spec/podSelector", "{matchLabels: {app.kubernetes.io/name: fermata}}")),
    prod("both-ways", "NetworkPolicy/fermata-out", Set("/spec/policyTypes", "[Ingress]")),
    prod("no-open-door", "NetworkPolicy/fermata-metrics", Remove("/spec/ingress/0/from")),
    prod("no-open-door", "NetworkPolicy/fermata-out", Remove("/spec/egress/1/ports")),
    prod("no-node-metadata", "NetworkPolicy/fermata-out", Remove("/spec/egress/1/to/0/ipBlock/except/2")),
    prod("no-node-metadata", "NetworkPolicy/fermata-out", Remove("/spec/egress/1/to/1/ipBlock/except")),
    prod(
        "no-node-metadata",
        "NetworkPolicy/fermata-redis",
        Set("/spec/egress/0/to/-", "{ipBlock: {cidr: 169.254.169.254/32}}"),
    ),
    prod("dns", "NetworkPolicy/fermata-out", Remove("/spec/egress/0")),
    prod("dns", "NetworkPolicy/fermata-out", Remove("/spec/egress/0/ports/1")),
    worker(
        "no-secret-objects",
        Add(
            "{apiVersion: v1, kind: Secret, metadata: {name: fermata-redis, namespace: fermata, labels: {app.kubernetes.io/name: fermata,
            app.kubernetes.io/component: secrets, app.kubernetes.io/part-of: fermata}}, stringData: {url: 'redis://redis:6379'}}",
        ),
    ),
    worker("no-plain-secrets", Set("@container/env/-", "{name: AWS_SECRET_ACCESS_KEY, value: geheim}")),
    worker("no-plain-secrets", Set("@container/args/-", "--redis=redis://fermata:geheim@redis:6379/0")),
    prod(
        "no-plain-secrets",
        "ConfigMap/fermata",
        Set("/data/FERMATA_REDIS", "redis://fermata:geheim@redis:6379/0"),
    ),
    on(
        "components/redis",
        "no-plain-secrets",
        "StatefulSet/fermata-redis",
        Set("@container/args/9", "geheim"),
    ),
    worker(
        "no-rbac",
        Add(
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: fermata, namespace: fermata, labels: {app.kubernetes.io/name: fermata,
            app.kubernetes.io/component: worker, app.kubernetes.io/part-of: fermata}}, rules: []}",
        ),
    ),
    worker("labels", Remove("/metadata/labels/app.kubernetes.io~1part-of")),
    worker("labels", Remove("/spec/template/metadata/labels/app.kubernetes.io~1part-of")),
    worker("labels", Set("/spec/template/metadata/labels/app.kubernetes.io~1version", "0.0.9")),
    prod("labels", "ConfigMap/fermata", Remove("/metadata/labels")),
    worker("minimal-selectors", Set("/spec/selector/matchLabels/app.kubernetes.io~1part-of", "fermata")),
    prod(
        "minimal-selectors",
        "Service/fermata-dashboard",
        Set("/spec/selector/app.kubernetes.io~1part-of", "fermata"),
    ),
    prod("names", "NetworkPolicy/fermata-out", Set("/metadata/name", "fermata_out")),
    worker("names", Set("@container/name", "Worker")),
    on(
        "one-machine",
        "names",
        "CronJob/fermata-prune",
        Set("/metadata/name", "fermata-prune-that-has-a-name-of-more-than-fifty-two-letters"),
    ),
    worker("unique", Set("@container/env/-", "{name: FERMATA_KEY_FILE, value: /etc/fermata/key/fermata.key}")),
    prod("unique", "NetworkPolicy/fermata-page", Set("/metadata/name", "fermata-metrics")),
    prod("namespace", "NetworkPolicy/fermata-page", Remove("/metadata/namespace")),
    prod("namespace", "ConfigMap/fermata", Set("/metadata/namespace", "default")),
    prod(
        "pod-security-labels",
        "Namespace/fermata",
        Set("/metadata/labels/pod-security.kubernetes.io~1enforce", "baseline"),
    ),
    prod(
        "pod-security-labels",
        "Namespace/fermata",
        Set("/metadata/labels/pod-security.kubernetes.io~1warn-version", "latest"),
    ),
    worker("images", Set("@container/image", "registry.example.com/fermata:latest")),
    worker("images", Set("@container/image", "registry.example.com:5000/fermata")),
    worker("images", Set("@container/image", "registry.example.com/fermata:0.0.9")),
    prod("supported-apis", "PodDisruptionBudget/fermata-worker", Set("/apiVersion", "policy/v1beta1")),
    prod(
        "supported-apis",
        "Ingress/fermata-dashboard",
        Set("/metadata/annotations", "{kubernetes.io/ingress.class: nginx}"),
    ),
    worker("supported-apis", Set("@pod/serviceAccount", "fermata-worker")),
];
