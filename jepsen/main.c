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
    fputs("usage: assent-jepsen --workload NAME [--faults A,B:SHAPE | all] [--seconds 60] [--nodes 3] "
          "[--workers 10]\n"
          "           [--rate 200] [--fault-ms 4000] [--at-once 1] [--snapshot-entries 400] [--seed 1]\n"
          "           [--assentd PROGRAM] [--out DIR] [--loopback]\n"
          "       assent-jepsen --list\n"
          "       assent-jepsen --judge FOLDER   the verdict on an old run; --redraw FOLDER writes its pages "
          "too\n\n"
          "workloads:\n",
          stderr);
    for (uint32_t i = 0; i < workloads_n; i++)
        fprintf(stderr, "  %-12s %s\n", workloads[i]->name, workloads[i]->what);
    fprintf(stderr, "faults:\n");
    for (uint32_t i = 0; i < faults_n; i++) {
        fprintf(stderr, "  %-12s %s\n", faults[i]->name, faults[i]->what);
        for (uint32_t k = 0; faults[i]->shapes != NULL && faults[i]->shapes[k] != NULL; k++)
            fprintf(stderr, "%s%s:%s", k == 0 ? "               " : " ", faults[i]->name,
                    faults[i]->shapes[k]);
        fprintf(stderr, faults[i]->shapes != NULL ? "\n" : "");
    }
}

static const char *absent(const struct options *o, const struct fault *f)
{
    if ((f->needs & SUT_NETWORK) && o->loopback)
        return "needs network namespaces, not --loopback";
    if ((f->needs & SUT_DISKS) && geteuid() != 0)
        return "needs loop devices and mounts (root)";
    if ((f->needs & SUT_NETWORK) && geteuid() != 0)
        return "needs network namespaces (root)";
    return NULL;
}

/* "all" are those that are possible here; the others are named on standard error. */
static void take_all(struct options *o)
{
    for (uint32_t i = 0; i < faults_n; i++) {
        const char *why = absent(o, faults[i]);
        if (why != NULL)
            fprintf(stderr, "assent-jepsen: without %s, which %s\n", faults[i]->name, why);
        else if (o->faults_n < FAULTS_MAX)
            o->faults[o->faults_n++] = faults[i];
    }
}

/* "partition", or one of its shapes: "partition:ring". */
static bool take_fault(struct options *o, char *name)
{
    char *shape = strchr(name, ':');
    if (shape != NULL)
        *shape++ = 0;
    const struct fault *f = fault_find(name);
    if (f == NULL || o->faults_n == FAULTS_MAX)
        return false;
    for (uint32_t i = 0; shape != NULL && o->shapes[o->faults_n] == 0; i++) {
        if (i == fault_shapes(f) || f->shapes == NULL)
            return false;
        if (strcmp(f->shapes[i], shape) == 0)
            o->shapes[o->faults_n] = i + 1;
    }
    const char *why = absent(o, f);
    if (why != NULL) {
        fprintf(stderr, "assent-jepsen: %s %s\n", name, why);
        exit(3);
    }
    o->faults[o->faults_n++] = f;
    return true;
}

static bool take_faults(struct options *o, char *list)
{
    if (strcmp(list, "all") == 0) {
        take_all(o);
        return true;
    }
    bool ok = true;
    for (char *save = NULL, *name = strtok_r(list, ",", &save); ok && name != NULL;
         name = strtok_r(NULL, ",", &save))
        ok = take_fault(o, name);
    return ok;
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
    if (strcmp(name, "--faults") == 0) {
        o->list = value; /* taken when all other options are known */
        return true;
    }
    if (strcmp(name, "--seconds") == 0 || strcmp(name, "--time") == 0)
        o->seconds = number;
    else if (strcmp(name, "--nodes") == 0)
        o->nodes = number;
    else if (strcmp(name, "--workers") == 0)
        o->workers = number;
    else if (strcmp(name, "--rate") == 0)
        o->rate = number;
    else if (strcmp(name, "--fault-ms") == 0)
        o->fault_ms = number;
    else if (strcmp(name, "--at-once") == 0)
        o->at_once = number;
    else if (strcmp(name, "--snapshot-entries") == 0)
        o->snapshot_entries = number;
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
                        .at_once = 1,
                        .snapshot_entries = 400,
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
    ok = ok && o.at_once >= 1 && o.fault_ms >= 100 && (o.list == NULL || take_faults(&o, o.list));
    if (!ok) {
        usage();
        return 3;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return run_all(&run, &o);
}
