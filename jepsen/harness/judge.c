#include "judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKED_IN_EARNEST 20 /* invocations of one kind, of which one at least must succeed */

/* ---- what must hold of every run ---- */

/* What is asked again and again and never succeeds was not tested. */
static void judge_kinds(const struct history *h, struct verdict *v)
{
    json_t *asked = json_object(), *done = json_object(), *count;
    const char *f;
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (o->process == PROCESS_NEMESIS || (o->type != OP_INVOKE && o->type != OP_OK))
            continue;
        json_t *kinds = o->type == OP_OK ? done : asked;
        json_int_t n = json_integer_value(json_object_get(kinds, o->f));
        json_object_set_new(kinds, o->f, json_integer(n + 1));
    }
    json_object_foreach(asked, f, count)
    {
        if (json_integer_value(count) >= ASKED_IN_EARNEST && json_object_get(done, f) == NULL &&
            v->valid == VALID)
            verdict_unknown(v, 1, "no \"%s\" ever succeeded", f);
    }
    json_decref(asked);
    json_decref(done);
}

static void judge_violations(const struct history *h, struct verdict *v)
{
    for (size_t i = 0; i < h->n; i++) {
        const char *text = json_string_value(h->ops[i].value);
        if (h->ops[i].process != PROCESS_NEMESIS || strcmp(h->ops[i].f, "violation") != 0 || text == NULL)
            continue;
        if (strncmp(text, "harness error", 13) == 0)
            verdict_malformed(v, "%s", text);
        else
            verdict_invalid(v, "%s", text);
    }
}

void judge_history(struct run *r, struct verdict *v)
{
    char err[256];
    bool succeeded = false;
    verdict_init(v);
    if (history_validate(&r->history, err, sizeof err) != 0) {
        verdict_malformed(v, "harness error: %s", err);
        return;
    }
    for (size_t i = 0; i < r->history.n; i++)
        succeeded |= r->history.ops[i].process >= 0 && r->history.ops[i].type == OP_OK;
    r->o.workload->check(r, &r->history, v);
    judge_violations(&r->history, v);
    for (uint32_t i = 0; i < r->o.faults_n; i++)
        if (v->valid == VALID && r->in_force[i] == 0)
            verdict_unknown(v, 1, "%s was never in force", r->o.faults[i]->name);
    if (v->valid == VALID && !succeeded)
        verdict_unknown(v, 1, "no operation succeeded");
    judge_kinds(&r->history, v);
}

/* ---- a folder ---- */

static uint32_t number(const json_t *results, const char *name, uint32_t otherwise)
{
    const json_t *n = json_object_get(json_object_get(results, "parameters"), name);
    return json_is_integer(n) ? (uint32_t)json_integer_value(n) : otherwise;
}

/* Nodes that were asked: what older results do not say. */
static uint32_t nodes_of(const struct history *h)
{
    uint32_t most = 0;
    for (size_t i = 0; i < h->n; i++) {
        unsigned id = 0;
        if (sscanf(h->ops[i].node, "node-%u", &id) == 1 && id > most)
            most = id;
    }
    return most;
}

static int read_results(struct run *r, const char *folder, char *err, size_t err_size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/results.json", folder);
    json_error_t why;
    json_t *results = json_load_file(path, 0, &why), *class;
    const char *workload = json_string_value(json_object_get(results, "workload")), *name;
    for (uint32_t i = 0; workload != NULL && i < workloads_n; i++)
        if (strcmp(workloads[i]->name, workload) == 0)
            r->o.workload = workloads[i];
    if (r->o.workload == NULL) {
        snprintf(err, err_size, "%s: %s", path,
                 results == NULL ? why.text : "names no workload of this judge");
        json_decref(results);
        return -1;
    }
    json_object_foreach(json_object_get(results, "faultClasses"), name, class)
    {
        if (fault_find(name) != NULL && r->o.faults_n < FAULTS_MAX)
            r->o.faults[r->o.faults_n++] = fault_find(name);
    }
    r->leaders_seen = (uint32_t)json_integer_value(json_object_get(results, "leaderChanges"));
    r->o.seed = (uint64_t)json_integer_value(json_object_get(results, "seed"));
    r->o.workers = number(results, "workers", 0);
    r->o.seconds = number(results, "seconds", 0);
    r->o.rate = number(results, "rate", 0);
    r->o.fault_ms = number(results, "faultMs", 0);
    r->o.nodes = number(results, "nodes", 0);
    json_decref(results);
    return 0;
}

/* What the run counted while it went on, counted again.  A fault that is told of more than once is one until
 * its end. */
static void count(struct run *r)
{
    bool open[FAULTS_MAX] = {false};
    for (size_t i = 0; i < r->history.n; i++) {
        const struct op *o = &r->history.ops[i];
        const char *text = json_string_value(o->value);
        if (o->process != PROCESS_NEMESIS) {
            r->ok += o->type == OP_OK;
            r->failed += o->type == OP_FAIL;
            r->unknown += o->type == OP_INFO;
            continue;
        }
        for (uint32_t k = 0; k < r->o.faults_n; k++) {
            if (text == NULL || strcmp(r->o.faults[k]->name, o->f) != 0)
                continue;
            bool begins = strcmp(text, "end") != 0;
            r->in_force[k] += begins && !open[k];
            r->faults_applied += begins && !open[k];
            open[k] = begins;
        }
    }
    r->o.nodes = r->o.nodes == 0 ? nodes_of(&r->history) : r->o.nodes;
}

int judge_open(struct run *r, const char *folder, char *err, size_t err_size)
{
    char path[512];
    *r = (struct run){.last_leader = -1};
    history_init(&r->history);
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    if (snprintf(r->dir, sizeof r->dir, "%.*s", (int)length, folder) >= (int)sizeof r->dir) {
        snprintf(err, err_size, "%s: too long a name", folder);
        return -1;
    }
    if (read_results(r, r->dir, err, err_size) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/history.jsonl", r->dir);
    if (history_read(path, &r->history, err, err_size) != 0)
        return -1;
    count(r);
    return 0;
}

void judge_close(struct run *r)
{
    history_close(&r->history);
}

/* The word of the verdict the folder holds. */
static void said_before(const char *folder, char *word, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/results.json", folder);
    json_t *results = json_load_file(path, 0, NULL);
    const char *valid = json_string_value(json_object_get(results, "valid"));
    snprintf(word, size, "%s", valid != NULL ? valid : "nothing");
    json_decref(results);
}

int judge_folder(const char *folder, bool redraw)
{
    static struct run run;
    char err[600] = "", before[16];
    struct verdict v;
    int rv = 3;
    if (judge_open(&run, folder, err, sizeof err) != 0) {
        fprintf(stderr, "assent-jepsen: %s\n", err);
    } else {
        said_before(run.dir, before, sizeof before);
        judge_history(&run, &v);
        const char *now = verdict_name(v.valid);
        printf("%s\t%s: %s  %llu judged, %llu undecided%s%s; it was %s%s\n", run.dir, run.o.workload->name,
               now, (unsigned long long)v.checked, (unsigned long long)v.unknown_parts,
               v.why[0] != 0 ? "; " : "", v.why, before, strcmp(before, now) == 0 ? "" : ": ANOTHER VERDICT");
        if (redraw)
            report_write(&run, &v);
        rv = v.malformed ? 3 : verdict_exit(v.valid);
    }
    judge_close(&run);
    return rv;
}
