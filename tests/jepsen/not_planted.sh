#!/bin/bash
# No product holds anything of the museum, and the museum's programs do (else this looked for the wrong thing).
#
#     not_planted.sh ASSENTD-MUSEUM PRODUCT...
set -eu
marks='assent_planted|ASSENT_PLANTED|reply-before-sync'
grep -aqE "$marks" "$1" || { echo "$1 holds no planted bug: what is looked for has changed" >&2; exit 1; }
shift
for product in "$@"; do
    [ -s "$product" ] || { echo "$product is missing" >&2; exit 1; }
    ! grep -aqE "$marks" "$product" || { echo "$product holds planted bugs" >&2; exit 1; }
done
