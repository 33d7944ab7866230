#!/usr/bin/env bash
# Runs every fuzz target for the given time each, or those of some packages:
# scripts/fuzz.sh 30s; scripts/fuzz.sh 30s ./internal/token
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
packages=("${@:2}")
go list -f '{{.Dir}}' "${packages[@]:-./...}" | while read -r dir; do
	# Most packages have none, for which grep fails.
	{ grep -hso '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go || true; } | sed 's/^func //' | sort -u | while read -r target; do
		printf '%s %s\n' "${dir#"$PWD"/}" "$target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x "$dir" </dev/null
	done
done
