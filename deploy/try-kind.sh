#!/usr/bin/env bash
# What only a real cluster can show: the image builds, the manifests are taken, probes and hooks work, and an upgrade under load
# loses nothing. It needs docker, kind and kubectl, makes a cluster `fermata-try`, and leaves it there to look at.
#   deploy/try-kind.sh [deploy/kustomize/overlays/dev]
# Tempo is the simulator, beside the worker in its pod: a token goes unencrypted to no other machine.
set -euo pipefail
cd "$(dirname "$0")/.."
overlay=$PWD/${1:-deploy/kustomize/overlays/dev} cluster=fermata-try tenants=6 patience=300s
for tool in docker kind kubectl openssl; do
  command -v "$tool" >/dev/null || { echo "this needs $tool" >&2; exit 1; }
done
work=$(mktemp -d) && trap 'rm -r "$work"' EXIT
say() { echo "== $*" >&2; }
k() { kubectl --context "kind-$cluster" --namespace fermata "$@"; }
fermata() { k exec --stdin deployment/fermata-worker --container worker -- /usr/bin/fermata "$@"; }

say "images"
docker build --quiet --tag fermata:dev --file deploy/Dockerfile .
docker tag fermata:dev fermata:next
docker build --quiet --tag tempo-sim:dev --file - . <<'END'
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package tempo-sim && cp target/release/tempo-sim /
FROM debian:bookworm-slim
COPY --from=build /tempo-sim /usr/bin/
ENTRYPOINT ["/usr/bin/tempo-sim"]
END

say "cluster"
kind get clusters | grep -qx "$cluster" || kind create cluster --name "$cluster" --wait 120s
kind load docker-image --name "$cluster" fermata:dev fermata:next tempo-sim:dev
k apply --kustomize deploy/kustomize/namespace

say "secrets"
# The program makes its own key and users file, in a container that is thrown away.
docker run --rm --interactive --volume "$work:/work" --workdir /work --user "$(id -u):$(id -g)" fermata:dev init --store made-only-for-its-key
password=$(openssl rand -hex 16)
printf '%s\n' "$password" | docker run --rm --interactive --volume "$work:/work" --workdir /work --user "$(id -u):$(id -g)" \
  fermata:dev user set ann --role admin
secret() { k create secret generic "$@" --dry-run=client --output yaml | k apply --filename -; }
# A cluster that is there already keeps its key: without it nobody reads its vault.
k get secret fermata-key >/dev/null 2>&1 || secret fermata-key --from-file="$work/fermata.key"
secret fermata-users --from-file=users.toml="$work/fermata-users.toml"
k get secret fermata-redis >/dev/null 2>&1 || secret fermata-redis --from-literal="password=$password" \
  --from-literal="url=redis://:$password@fermata-redis:6379/0"

say "the fleet, with a simulated Tempo beside each worker"
# The same seed and the same time: each is the same site. So slow that an upgrade falls into it.
cat >"$work/sim.yaml" <<END
spec:
  template:
    spec:
      initContainers:
        - name: tempo-sim
          image: tempo-sim:dev
          imagePullPolicy: Never
          restartPolicy: Always
          args: [--tenants=$tenants, --worklogs=20000, --rate=5, --latency-ms=100, --now=$(date -u +%Y-%m-%dT%H:%M:%SZ)]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources:
            requests: {cpu: 50m, memory: 128Mi, ephemeral-storage: 16Mi}
            limits: {memory: 512Mi}
END
kubectl kustomize "$overlay" >"$work/dev.yaml"
k apply --filename "$work/dev.yaml"
k patch deployment fermata-worker --patch-file "$work/sim.yaml"
ready() {
  for name in worker scheduler dashboard; do k rollout status "deployment/fermata-$name" --timeout "$patience"; done
}
ready

say "tenants"
for number in $(seq "$tenants"); do
  fermata tenant show "sim-$number" >/dev/null 2>&1 ||
    fermata tenant add "sim-$number" --base-url http://localhost:8080 </dev/null
  printf 'sim-token-%s' "$number" | fermata token set "sim-$number"
done
fermata enqueue --all </dev/null

say "an upgrade under load, three times"
for image in next dev next; do
  fermata queue status </dev/null
  for name in worker scheduler dashboard; do
    k set image "deployment/fermata-$name" "$name=fermata:$image"
  done
  ready
done

say "until all is done"
until fermata runs list --json </dev/null | grep -q '"runs":\[\]'; do
  fermata queue status </dev/null | head -3
  sleep 10
done

say "whole, with nothing taken over, tried again or given up"
for number in $(seq "$tenants"); do
  fermata snapshots verify "sim-$number" --data </dev/null
done
status=$(fermata queue status --json </dev/null)
echo "$status"
for event in dead retried recovered poisoned; do
  grep -q "\"$event\":[1-9]" <<<"$status" && { echo "$event jobs: look at \`fermata jobs list\`" >&2; exit 1; }
done
say "good. To look at it: kubectl --context kind-$cluster -n fermata port-forward service/fermata-dashboard 8480; ann, $password"
say "To be rid of it: kind delete cluster --name $cluster"
