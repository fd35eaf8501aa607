/* What people look at: the verdict, the course of the run as numbers, and one lane per worker with the faults
 * behind it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

#define LANES_MAX    24
#define PER_LANE_MAX 1500
#define WIDTH        1400.0

static FILE *page_open(struct run *r, const char *name, const char *title)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    FILE *f = fopen(path, "we");
    if (f != NULL)
        fprintf(f,
                "<!doctype html><html lang=en><meta charset=utf-8><title>%s</title><style>body{font:14px/1.5 "
                "system-ui,"
                "sans-serif;margin:2em;max-width:1500px;color:#222}table{border-collapse:collapse}td,th{"
                "padding:.2em .8em;"
                "text-align:left;border-bottom:1px solid "
                "#ddd}.ok{fill:#6c9}.fail{fill:#f99}.info{fill:#fb4}.fault{fill:"
                "#0002}svg text{font:11px sans-serif}</style><h1>%s</h1>\n",
                title, title);
    return f;
}

static void write_escaped(FILE *f, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '<')
            fputs("&lt;", f);
        else if (*text == '&')
            fputs("&amp;", f);
        else
            fputc(*text, f);
    }
}

static double x_of(const struct run *r, uint64_t ns)
{
    uint64_t end = r->history.n > 0 ? r->history.ops[r->history.n - 1].time_ns + 1 : 1;
    return (double)ns / (double)end * WIDTH;
}

/* Faults as grey bands over the height; an end closes the newest band. */
static void write_faults(struct run *r, FILE *f, double height)
{
    const struct op *open = NULL;
    for (size_t i = 0; i < r->history.n; i++) {
        const struct op *o = &r->history.ops[i];
        if (o->process != PROCESS_NEMESIS)
            continue;
        const char *text = json_string_value(o->value);
        if (open != NULL) {
            fprintf(f, "<rect class=fault x=%.1f y=0 width=%.1f height=%.0f><title>", x_of(r, open->time_ns),
                    x_of(r, o->time_ns) - x_of(r, open->time_ns), height);
            write_escaped(f, json_string_value(open->value));
            fprintf(f, "</title></rect>\n");
        }
        open = text != NULL && strcmp(text, "end") != 0 ? o : NULL;
    }
}

static void write_timeline(struct run *r)
{
    size_t *pair = calloc(r->history.n + 1, sizeof *pair);
    uint32_t shown[LANES_MAX] = {0};
    FILE *f = page_open(r, "timeline.html", "Timeline");
    if (f == NULL || pair == NULL || history_pairs(&r->history, pair) != 0) {
        free(pair);
        return;
    }
    fprintf(f,
            "<p>One lane per node asked; green: done, red: refused, orange: nobody knows. Grey: a fault in "
            "force (its "
            "name under the pointer).</p><svg width=%.0f height=%u>\n",
            WIDTH, r->o.nodes * 120 + 20);
    write_faults(r, f, r->o.nodes * 120.0);
    for (size_t i = 0; i < r->history.n; i++) {
        const struct op *o = &r->history.ops[i];
        if (o->process < 0 || o->type != OP_INVOKE)
            continue;
        uint32_t node = (uint32_t)strtoul(o->node + (strlen(o->node) > 5 ? 5 : 0), NULL, 10);
        uint32_t lane = node * 6 + (uint32_t)(o->process % 6);
        if (node == 0 || shown[lane % LANES_MAX]++ > PER_LANE_MAX)
            continue;
        const struct op *done = pair[i] != HISTORY_NONE ? &r->history.ops[pair[i]] : NULL;
        double from = x_of(r, o->time_ns), to = done != NULL ? x_of(r, done->time_ns) : WIDTH;
        fprintf(f, "<rect class=%s x=%.1f y=%u width=%.2f height=14><title>%s</title></rect>\n",
                done == NULL || done->type == OP_INFO ? "info"
                : done->type == OP_OK                 ? "ok"
                                                      : "fail",
                from, (node - 1) * 120 + (uint32_t)(o->process % 6) * 18 + 10,
                to - from > 0.5 ? to - from : 0.5, o->f);
    }
    for (uint32_t n = 0; n < r->o.nodes; n++)
        fprintf(f, "<text x=4 y=%u>node-%u</text>\n", n * 120 + 9, n + 1);
    fprintf(f, "</svg>\n");
    fclose(f);
    free(pair);
}

/* Completions per second and the longest wait in each, as two curves over the faults. */
static void write_curves(struct run *r, FILE *f)
{
    size_t *pair = calloc(r->history.n + 1, sizeof *pair);
    if (pair == NULL || history_pairs(&r->history, pair) != 0)
        abort();
    uint64_t end_ns = r->history.n > 0 ? r->history.ops[r->history.n - 1].time_ns : 0;
    size_t seconds = (size_t)(end_ns / 1000000000u) + 1;
    uint64_t *done = calloc(seconds, sizeof *done), *longest = calloc(seconds, sizeof *longest);
    if (done == NULL || longest == NULL)
        abort();
    uint64_t most = 1, slowest = 1;
    for (size_t i = 0; i < r->history.n; i++) {
        const struct op *o = &r->history.ops[i];
        if (o->process < 0 || o->type != OP_OK)
            continue;
        size_t s = (size_t)(o->time_ns / 1000000000u);
        uint64_t took_us = (o->time_ns - r->history.ops[pair[i]].time_ns) / 1000;
        done[s]++;
        longest[s] = took_us > longest[s] ? took_us : longest[s];
        most = done[s] > most ? done[s] : most;
        slowest = longest[s] > slowest ? longest[s] : slowest;
    }
    const struct {
        const char *title, *colour;
        const uint64_t *values;
        uint64_t top;
    } curves[] = {{"done per second, at most", "#295", done, most},
                  {"longest wait in the second, microseconds, at most", "#a33", longest, slowest}};
    for (int c = 0; c < 2; c++) {
        fprintf(f, "<h2>%s %" PRIu64 "</h2><svg width=%.0f height=160>", curves[c].title, curves[c].top,
                WIDTH);
        write_faults(r, f, 160);
        fprintf(f, "<polyline fill=none stroke='%s' points='", curves[c].colour);
        for (size_t s = 0; s < seconds; s++)
            fprintf(f, "%.1f,%.1f ", x_of(r, s * UINT64_C(1000000000)),
                    155 - 150.0 * (double)curves[c].values[s] / (double)curves[c].top);
        fprintf(f, "'/></svg>\n");
    }
    free(pair);
    free(done);
    free(longest);
}

static void write_index(struct run *r, const struct verdict *v)
{
    FILE *f = page_open(r, "index.html", r->o.workload->name);
    if (f == NULL)
        return;
    fprintf(f, "<p>%s</p><table><tr><th>verdict<td>%s ", r->o.workload->what, verdict_name(v->valid));
    write_escaped(f, v->why);
    fprintf(f,
            "<tr><th>operations<td>%" PRIu64 " done, %" PRIu64 " refused, %" PRIu64
            " unknown<tr><th>judged<td>%" PRIu64 " parts, %" PRIu64
            " undecided<tr><th>faults<td>%u<tr><th>changes of leader<td>%u<tr><th>seed<td>%" PRIu64
            "</table><p><a href=timeline.html>timeline</a>, <a href=history.jsonl>history</a>, <a "
            "href=results.json>results</a>",
            r->ok, r->failed, r->unknown, v->checked, v->unknown_parts, r->faults_applied, r->leaders_seen,
            r->o.seed);
    fprintf(f, "<table><tr><th>fault<th>times in force<th>self-check");
    for (uint32_t i = 0; i < r->o.faults_n; i++)
        fprintf(f, "<tr><td>%s: %s<td>%u<td>good", r->o.faults[i]->name, r->o.faults[i]->what,
                r->in_force[i]);
    fprintf(f, "</table>");
    for (uint32_t i = 1; i <= r->o.nodes; i++)
        fprintf(f, ", <a href=node-%u.log>log of node-%u</a>", i, i);
    fprintf(f, "</p>\n");
    write_curves(r, f);
    fclose(f);
}

static void write_results(struct run *r, const struct verdict *v)
{
    char path[320];
    snprintf(path, sizeof path, "%s/results.json", r->dir);
    json_t *j =
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:I}", "workload", r->o.workload->name, "valid",
                  verdict_name(v->valid), "why", v->why, "ok", (json_int_t)r->ok, "refused",
                  (json_int_t)r->failed, "unknown", (json_int_t)r->unknown, "judged", (json_int_t)v->checked,
                  "undecided", (json_int_t)v->unknown_parts, "faults", (int)r->faults_applied,
                  "leaderChanges", (int)r->leaders_seen, "seed", (json_int_t)r->o.seed);
    json_t *classes = json_object();
    for (uint32_t i = 0; i < r->o.faults_n; i++)
        json_object_set_new(classes, r->o.faults[i]->name,
                            json_pack("{s:i,s:b}", "inForce", (int)r->in_force[i], "selfCheck", 1));
    json_object_set_new(j, "faultClasses", classes);
    json_dump_file(j, path, JSON_INDENT(2));
    json_decref(j);
}

void report_write(struct run *r, const struct verdict *v)
{
    write_results(r, v);
    write_timeline(r);
    write_index(r, v);
}
