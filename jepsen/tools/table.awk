# The table of jepsen/matrix.sh as Markdown: a row per workload, a column per list of faults, what came of each run.
#
#     awk -f jepsen/tools/table.awk jepsen-runs/summary-*.txt
#
# A cell: the verdict (a mark for `true`) and acknowledged operations.  Of several runs of one cell the worst is shown,
# and then the latest; the totals count all.
function rank(word) { return index("valid as-hoped unknown FAILED MISSED INVALID", word) }
$1 == "workload" || NF < 9 { next }
{
    if (!($1 in known_workload)) { known_workload[$1] = 1; workload[++workloads] = $1 }
    if (!($2 in known_list)) { known_list[$2] = 1; list[++lists] = $2 }
    cell = $1 SUBSEP $2
    if (!(cell in verdict) || rank(verdict[cell]) <= rank($3)) { verdict[cell] = $3; ok[cell] = $4 }
    runs++; count[$3]++; acknowledged += $4; refused += $5; unknown += $6; undecided += $7; leaders += $8
    if (match($0, /([a-z]+ [0-9]+, )*[a-z]+ [0-9]+; [^ ]+$/)) {
        n = split(substr($0, RSTART), words, /[ ,;]+/)
        for (i = 2; i < n; i += 2) faults += words[i]
    }
}
END {
    printf "| workload |"; for (l = 1; l <= lists; l++) printf " %s |", list[l]; print ""
    printf "|---|"; for (l = 1; l <= lists; l++) printf "---|"; print ""
    for (w = 1; w <= workloads; w++) {
        printf "| `%s` |", workload[w]
        for (l = 1; l <= lists; l++) {
            cell = workload[w] SUBSEP list[l]
            if (!(cell in verdict)) printf " |"
            else if (verdict[cell] == "valid") printf " ✓ %s |", ok[cell]
            else if (verdict[cell] == "as-hoped") printf " ✗ as it must |"
            else printf " **%s** |", verdict[cell]
        }
        print ""
    }
    printf "\n%d runs", runs
    for (word in count) printf ", %d %s", count[word], word
    printf ": %d operations acknowledged, %d refused, %d unknown (%.2f %%); %d parts undecided; faults in force %d times; %d changes of leader.\n",
        acknowledged, refused, unknown, 100 * unknown / (acknowledged + refused + unknown), undecided, faults, leaders
}
