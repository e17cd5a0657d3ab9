#!/usr/bin/env bash
# Reads a Fermata vault in a folder without Fermata: with age, zstd, sha256sum and jq.
#   restore-by-hand.sh list  VAULT TENANT
#   restore-by-hand.sh check VAULT TENANT SNAPSHOT
#   restore-by-hand.sh read  VAULT TENANT SNAPSHOT ENTITY [ID]  > records.ndjson
# FERMATA_KEY_FILE names the key file. ID is what identifies a record, as jq says it (.tempoWorklogId,
# or [._parent,.id]): of records that were read twice only the last is then shown. See docs/formats.md.
set -euo pipefail
what=${1:?list, check or read} vault=${2:?the folder} tenant=${3:?which tenant} snapshot=${4:-}
home=$vault/tenants/$tenant manifest=$home/snapshots/$snapshot.json
sealed=$(jq '.data_recipients | length > 0' "$vault/fermata.json")

records() { # of the chunk in file $1
  if $sealed; then age -d -i "${FERMATA_KEY_FILE:?names the key file}" "$1"; else cat "$1"; fi | zstd -dcq
}
chunks() { # name, records and bytes of each chunk of entity $1, or of all
  jq -r --arg of "${1:-}" '.entities[] | select($of == "" or .entity == $of) | .layers[].chunks[]
    | [.name, .records, .bytes] | @tsv' "$manifest"
}
case $what in
  list) jq -rs '.[] | [.run, .status, .sealed, ([.entities[].records] | add)] | @tsv' "$home"/snapshots/*.json ;;
  check)
    chunks | while read -r name count bytes; do
      sum=$(sha256sum <"$home/chunks/$name") && [[ ${name#*-} == "${sum%% *}" ]] || { echo "damaged: $name"; exit 1; }
      [[ $(records "$home/chunks/$name" | wc -lc | xargs) == "$count $bytes" ]] || { echo "miscounted: $name"; exit 1; }
    done
    jq -r '.entities[] | [.entity, .status, .records, .reason // ""] | @tsv' "$manifest" ;;
  read)
    jq -e --arg of "${5:?which entity}" 'any(.entities[]; .entity == $of)' "$manifest" >/dev/null ||
      { echo "no such entity: $5" >&2; exit 1; }
    chunks "$5" | while read -r name _; do records "$home/chunks/$name"; done |
      if [[ -z ${6:-} ]]; then cat; else
        all=$(mktemp) && trap 'rm "$all"' EXIT && cat >"$all"
        jq -c "$6" "$all" | paste - "$all" | tac | awk -F'\t' '!seen[$1]++' | cut -f2- | tac
      fi ;;
  *) echo "list, check or read" >&2; exit 2 ;;
esac
