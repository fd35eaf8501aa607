/* assent-jepsen: one workload, one kind of faults, one verdict.
 *
 *     assent-jepsen --workload decide --faults kill,partition --seconds 60
 *     assent-jepsen --judge jepsen-runs/decide-...     an old run judged by the checkers of today
 *
 * Exit: 0 valid, 1 invalid, 2 unknown, 3 the judge itself failed. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "judge.h"

static void usage(void)
{
    fprintf(stderr, "usage: assent-jepsen --workload NAME [--faults A,B] [--seconds N] [--nodes 3] "
                    "[--workers 10] [--rate "
                    "200]\n                     [--fault-ms 4000] [--seed N] [--assentd PROGRAM] [--out DIR] "
                    "[--loopback] [--list]\n       assent-jepsen --judge FOLDER   the verdict on an old run; "
                    "--redraw FOLDER writes its pages "
                    "too\n\nworkloads:\n");
    for (uint32_t i = 0; i < workloads_n; i++)
        fprintf(stderr, "  %-12s %s\n", workloads[i]->name, workloads[i]->what);
    fprintf(stderr, "faults:\n");
    for (uint32_t i = 0; i < faults_n; i++)
        fprintf(stderr, "  %-12s %s\n", faults[i]->name, faults[i]->what);
}

static bool take_faults(struct options *o, char *list)
{
    for (char *save = NULL, *name = strtok_r(list, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save)) {
        const struct fault *f = fault_find(name);
        if (f == NULL || o->faults_n == sizeof o->faults / sizeof o->faults[0])
            return false;
        o->faults[o->faults_n++] = f;
    }
    return true;
}

static bool take(struct options *o, const char *name, char *value)
{
    uint32_t number = (uint32_t)strtoul(value, NULL, 10);
    if (strcmp(name, "--workload") == 0) {
        for (uint32_t i = 0; i < workloads_n; i++)
            if (strcmp(workloads[i]->name, value) == 0)
                o->workload = workloads[i];
        return o->workload != NULL;
    }
    if (strcmp(name, "--faults") == 0)
        return take_faults(o, value);
    if (strcmp(name, "--seconds") == 0)
        o->seconds = number;
    else if (strcmp(name, "--nodes") == 0)
        o->nodes = number;
    else if (strcmp(name, "--workers") == 0)
        o->workers = number;
    else if (strcmp(name, "--rate") == 0)
        o->rate = number;
    else if (strcmp(name, "--fault-ms") == 0)
        o->fault_ms = number;
    else if (strcmp(name, "--seed") == 0)
        o->seed = strtoull(value, NULL, 10);
    else if (strcmp(name, "--assentd") == 0)
        o->program = value;
    else if (strcmp(name, "--out") == 0)
        o->out = value;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static struct run run;
    struct options o = {.nodes = 3,
                        .workers = 10,
                        .seconds = 60,
                        .rate = 200,
                        .seed = 1,
                        .fault_ms = 4000,
                        .program = "build/release/node/assentd",
                        .out = "jepsen-runs"};
    bool ok = true;
    if (argc == 3 && (strcmp(argv[1], "--judge") == 0 || strcmp(argv[1], "--redraw") == 0))
        return judge_folder(argv[2], argv[1][2] == 'r');
    for (int i = 1; ok && i < argc; i++) {
        if (strcmp(argv[i], "--loopback") == 0) {
            o.loopback = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            for (uint32_t k = 0; k < workloads_n; k++)
                printf("%s\n", workloads[k]->name);
            return 0;
        } else {
            ok = i + 1 < argc && take(&o, argv[i], argv[i + 1]);
            i++;
        }
    }
    ok =
        ok && o.workload != NULL && o.nodes >= 1 && o.nodes <= NODES_MAX && o.workers >= 1 && o.workers <= 64;
    for (uint32_t i = 0; ok && i < o.faults_n; i++) {
        if ((o.faults[i]->needs & SUT_NETWORK) && o.loopback) {
            fprintf(stderr, "assent-jepsen: %s needs network namespaces, not --loopback\n",
                    o.faults[i]->name);
            return 3;
        }
    }
    if (!ok) {
        usage();
        return 3;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return run_all(&run, &o);
}
