#!/usr/bin/env bash
# Runs every fuzz target for the given time each: scripts/fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
go list -f '{{.Dir}}' ./... | while read -r dir; do
	grep -hso '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
		printf '%s %s\n' "${dir#"$PWD"/}" "$target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir" </dev/null
	done
done
