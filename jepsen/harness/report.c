#include "report.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char report_colour_ok[] = "#4477AA", report_colour_refused[] = "#CC8800",
           report_colour_unknown[] = "#AA3377";

const char *report_class_colour(uint32_t class)
{
    static const char *const colours[] = {"#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#44BB99", "#BBCC33",
                                          "#99DDFF", "#AAAA00", "#B395C8", "#C49A6C", "#8FA0A8", "#DDDDDD",
                                          "#6F78C4", "#D98CB3", "#7FCDBB", "#B8B86A"};
    return colours[class % (sizeof colours / sizeof colours[0])];
}

/* ---- pages ---- */

FILE *report_file(const struct report *p, const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", p->run->dir, name);
    FILE *f = fopen(path, "we");
    if (f == NULL)
        fprintf(stderr, "assent-jepsen: %s: %s\n", path, strerror(errno));
    return f;
}

FILE *report_page(const struct report *p, const char *name, const char *title)
{
    FILE *f = report_file(p, name);
    if (f != NULL)
        fprintf(f,
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" "
                "content=\"width=device-width\"><title>%s</title><style>\n%s</style></head>"
                "<body>\n",
                title, report_css);
    return f;
}

void report_page_end(FILE *f)
{
    fputs("</body></html>\n", f);
    fclose(f);
}

void report_escaped(FILE *f, const char *text)
{
    for (; text != NULL && *text != 0; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            fputc(*text, f);
        }
    }
}

void report_value_text(const json_t *value, char *text, size_t size)
{
    char *json = value == NULL || json_is_null(value)
                     ? NULL
                     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    if (json == NULL)
        text[0] = 0;
    else if (snprintf(text, size, "%s", json) >= (int)size)
        memcpy(text + size - 4, "...", 4);
    free(json);
}

void report_key_text(const json_t *key, char *text, size_t size)
{
    if (json_is_string(key))
        snprintf(text, size, "%s", json_string_value(key));
    else
        report_value_text(key, text, size);
}

void report_op_text(const struct op *invoke, char *text, size_t size)
{
    char key[64], value[200];
    report_key_text(invoke->key, key, sizeof key);
    report_value_text(invoke->value, value, sizeof value);
    snprintf(text, size, "%s%s%s%s%s", invoke->f, key[0] != 0 ? " " : "", key, value[0] != 0 ? " " : "",
             value);
}

int report_by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t report_quantile(const uint64_t *sorted, size_t n, unsigned percent)
{
    return n == 0 ? 0 : sorted[(n - 1) * percent / 100];
}

/* ---- what the history says about the run ---- */

static uint32_t class_of(struct report *p, const char *name)
{
    for (uint32_t i = 0; i < p->classes_n; i++)
        if (strcmp(p->classes[i], name) == 0)
            return i;
    if (p->classes_n < REPORT_CLASSES_MAX)
        p->classes[p->classes_n++] = name;
    return p->classes_n - 1;
}

/* A fault begins with its description and is over with "end", or with the run. */
static void find_windows(struct report *p)
{
    const struct history *h = &p->run->history;
    for (uint32_t i = 0; i < p->run->o.faults_n; i++) /* what was wanted and never began has a row too */
        (void)class_of(p, p->run->o.faults[i]->name);
    struct window *open[REPORT_CLASSES_MAX] = {NULL};
    p->windows = calloc(h->n + 1, sizeof *p->windows);
    if (p->windows == NULL)
        abort();
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        const char *text = json_string_value(o->value);
        if (o->process != PROCESS_NEMESIS || text == NULL || fault_find(o->f) == NULL)
            continue; /* not a fault: a remark */
        uint32_t class = class_of(p, o->f);
        if (open[class] != NULL)
            open[class]->to_ns = o->time_ns;
        open[class] = NULL;
        if (strcmp(text, "end") != 0) {
            open[class] = &p->windows[p->windows_n++];
            *open[class] = (struct window){o->time_ns, p->end_ns, class, text};
        }
    }
}

static struct kind *kind_of(struct report *p, const char *f)
{
    for (uint32_t i = 0; i < p->kinds_n; i++)
        if (strcmp(p->kinds[i].f, f) == 0)
            return &p->kinds[i];
    if (p->kinds_n == sizeof p->kinds / sizeof p->kinds[0])
        return &p->kinds[p->kinds_n - 1];
    struct kind *k = &p->kinds[p->kinds_n++];
    snprintf(k->f, sizeof k->f, "%s", f);
    if ((k->took_us = calloc(p->run->history.n / 2 + 1, sizeof *k->took_us)) == NULL)
        abort();
    return k;
}

static void count_kinds(struct report *p)
{
    const struct history *h = &p->run->history;
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (o->process < 0 || o->type != OP_INVOKE)
            continue;
        struct kind *k = kind_of(p, o->f);
        const struct op *done = p->pair[i] == HISTORY_NONE ? NULL : &h->ops[p->pair[i]];
        if (done == NULL || done->type == OP_INFO)
            k->unknown++;
        else if (done->type == OP_FAIL)
            k->refused++;
        else
            k->took_us[k->ok++] = (done->time_ns - o->time_ns) / 1000;
    }
    for (uint32_t i = 0; i < p->kinds_n; i++)
        qsort(p->kinds[i].took_us, p->kinds[i].ok, sizeof(uint64_t), report_by_number);
}

uint32_t report_named(const struct report *p, const char *text, size_t *out, uint32_t max)
{
    const struct history *h = &p->run->history;
    bool *named = calloc(h->n + 1, sizeof *named);
    uint32_t n = 0;
    if (named == NULL)
        abort();
    for (const char *at = text; (at = strchr(at, '#')) != NULL; at++) {
        size_t event = isdigit((unsigned char)at[1]) ? strtoul(at + 1, NULL, 10) : h->n;
        if (event >= h->n || h->ops[event].process < 0)
            continue;
        named[h->ops[event].type == OP_INVOKE ? event : p->pair[event]] = true;
    }
    for (size_t i = 0; i < h->n && n < max; i++)
        if (named[i])
            out[n++] = i;
    free(named);
    return n;
}

/* ---- results.json ---- */

static json_t *kinds_json(const struct report *p)
{
    json_t *kinds = json_object();
    for (uint32_t i = 0; i < p->kinds_n; i++) {
        const struct kind *k = &p->kinds[i];
        json_object_set_new(kinds, k->f,
                            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "ok", (json_int_t)k->ok, "refused",
                                      (json_int_t)k->refused, "unknown", (json_int_t)k->unknown, "p50Us",
                                      (json_int_t)report_quantile(k->took_us, k->ok, 50), "p95Us",
                                      (json_int_t)report_quantile(k->took_us, k->ok, 95), "p99Us",
                                      (json_int_t)report_quantile(k->took_us, k->ok, 99), "maxUs",
                                      (json_int_t)report_quantile(k->took_us, k->ok, 100)));
    }
    return kinds;
}

static void write_results(const struct report *p)
{
    const struct run *r = p->run;
    const struct verdict *v = p->v;
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
    json_object_set_new(j, "command", json_string(p->command));
    json_object_set_new(j, "parameters",
                        json_pack("{s:i,s:i,s:i,s:i,s:i}", "nodes", (int)r->o.nodes, "workers",
                                  (int)r->o.workers, "seconds", (int)r->o.seconds, "rate", (int)r->o.rate,
                                  "faultMs", (int)r->o.fault_ms));
    json_object_set_new(j, "operations", kinds_json(p));
    if (json_dump_file(j, path, JSON_INDENT(2)) != 0)
        fprintf(stderr, "assent-jepsen: %s was not written\n", path);
    json_decref(j);
}

/* Of the run, not of whoever draws it anew. */
static void find_command(struct report *p)
{
    char path[320];
    snprintf(path, sizeof path, "%s/results.json", p->run->dir);
    json_t *old = json_load_file(path, 0, NULL);
    if (old != NULL) {
        const char *command = json_string_value(json_object_get(old, "command"));
        snprintf(p->command, sizeof p->command, "%s", command != NULL ? command : "");
        json_decref(old);
        return;
    }
    FILE *f = fopen("/proc/self/cmdline", "re");
    size_t n = f != NULL ? fread(p->command, 1, sizeof p->command - 1, f) : 0;
    for (size_t i = 0; i + 1 < n; i++)
        p->command[i] = p->command[i] == 0 ? ' ' : p->command[i];
    if (f != NULL)
        fclose(f);
}

void report_write(struct run *r, const struct verdict *v)
{
    struct report p = {.run = r, .v = v, .pair = calloc(r->history.n + 1, sizeof *p.pair)};
    char err[200];
    p.end_ns = r->history.n > 0 ? r->history.ops[r->history.n - 1].time_ns + 1 : 1;
    if (p.pair == NULL)
        abort();
    bool formed = history_validate(&r->history, err, sizeof err) == 0; /* else nothing can be paired */
    find_command(&p);
    if (formed && history_pairs(&r->history, p.pair) == 0) {
        find_windows(&p);
        count_kinds(&p);
        p.named_n = report_named(&p, v->why, p.named, REPORT_NAMED_MAX);
        report_history_text(&p);
        report_plots(&p);
        report_timeline(&p);
        report_findings(&p);
        report_index(&p);
    }
    write_results(&p);
    for (uint32_t i = 0; i < p.kinds_n; i++)
        free(p.kinds[i].took_us);
    free(p.windows);
    free(p.pair);
}
