#!/bin/bash
# cross_check.sh TEST_ENGINES HIST2 CROSS_CHECK HISTORIES: z3 says what wgl says, of random small histories and of the
# keys of real runs; and a wrong engine would be seen.
set -euo pipefail
engines=$1 hist2=$2 cross=$3 histories=$4
python=
for candidate in python3 /usr/bin/python3; do
    [ -n "$python" ] || ! "$candidate" -c 'import z3' 2>/dev/null || python=$candidate
done
[ -n "$python" ] || { echo "z3 is not installed (python3-z3): its cross-check is skipped"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$engines" --write "$dir" --histories 240 --seed 5000
"$python" "$cross" --wgl "$hist2" "$dir"/*.jsonl | tee "$dir/random"
"$python" "$cross" --wgl "$hist2" "$histories"/{register,cas-register}-{valid,invalid} | tee "$dir/real"
# Neither all valid nor all invalid.
for said in random real; do
    read -r valid _ invalid _ < <(tail -n 1 "$dir/$said" | tr -d ,)
    [ "$valid" -gt 3 ] && [ "$invalid" -gt 0 ] || { echo "$said: one verdict only"; exit 1; }
done
cat >"$dir/liar" <<END
#!/bin/sh
"$hist2" "\$@" | sed 's/^true/false/'
END
chmod +x "$dir/liar"
status=0
"$python" "$cross" --wgl "$dir/liar" "$histories/register-valid" >"$dir/said" || status=$?
[ $status = 1 ] || { echo "an engine that calls valid keys invalid was not seen"; cat "$dir/said"; exit 1; }
