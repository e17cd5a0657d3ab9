#!/usr/bin/env bash
# Reads a Fermata vault in a folder without Fermata: with age, zstd, sha256sum and jq.
#   restore-by-hand.sh list  VAULT TENANT
#   restore-by-hand.sh check VAULT TENANT SNAPSHOT
#   restore-by-hand.sh read  VAULT TENANT SNAPSHOT ENTITY [ID]  > records.ndjson
# FERMATA_KEY_FILE names the key file. ID is what identifies a record, as jq says it (.tempoWorklogId,
# or [._parent,.id]): of each record only the last form is then shown, and none that was deleted. See docs/formats.md.
set -euo pipefail
what=${1:?list, check or read} vault=${2:?the folder} tenant=${3:?which tenant} snapshot=${4:-}
home=$vault/tenants/$tenant manifest=$home/snapshots/$snapshot.json

records() { # of the chunk in file $1
  if head -c 21 "$1" | grep -aqx age-encryption.org/v1; then age -d -i "${FERMATA_KEY_FILE:?names the key file}" "$1"; else cat "$1"; fi |
    zstd -dcq
}
chunks() { # kind, name, records and bytes of each chunk of entity $1, or of all
  jq -r --arg of "${1:-}" '.entities[] | select($of == "" or .entity == $of) | .layers[] | .kind as $kind | .chunks[]
    | [$kind, .name, .records, .bytes] | @tsv' "$manifest"
}
case $what in
  list) jq -rs '.[] | [.run, .status, .sealed, ([.entities[].records] | add)] | @tsv' "$home"/snapshots/*.json ;;
  check)
    chunks | while read -r kind name count bytes; do
      sum=$(sha256sum <"$home/chunks/$name") && [[ ${name#*-} == "${sum%% *}" ]] || { echo "damaged: $name"; exit 1; }
      [[ $kind != index ]] || continue # for later backups alone, sealed to the workers' key
      [[ $(records "$home/chunks/$name" | wc -lc | xargs) == "$count $bytes" ]] || { echo "miscounted: $name"; exit 1; }
    done
    jq -r '.entities[] | [.entity, .status, .records, .reason // ""] | @tsv' "$manifest" ;;
  read)
    jq -e --arg of "${5:?which entity}" 'any(.entities[]; .entity == $of)' "$manifest" >/dev/null ||
      { echo "no such entity: $5" >&2; exit 1; }
    chunks "$5" | while read -r kind name _; do
      case $kind in
        index) ;;
        deletions) records "$home/chunks/$name" | sed $'s/^/-\t/' ;;
        *) records "$home/chunks/$name" | sed $'s/^/+\t/' ;;
      esac
    done | if [[ -z ${6:-} ]]; then sed -n $'s/^+\t//p'; else
      all=$(mktemp) && trap 'rm "$all"' EXIT && cat >"$all"
      # A line of deletions is an audit event, which names the record in another way.
      cut -f2- "$all" | jq -c "(($6) // (.entityId | tonumber))" | paste - "$all" | tac |
        awk -F'\t' '!seen[$1]++ && $2 == "+"' | cut -f3- | tac
    fi ;;
  *) echo "list, check or read" >&2; exit 2 ;;
esac
