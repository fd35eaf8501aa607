/* findings/: what contradicts the promise, so that it can be followed by hand: the operations that clash as a
 * picture and in words, one proof per anomaly of transactions over lists, the failing part in the formats of
 * other checkers. */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "append.h"
#include "export.h"
#include "lin.h"
#include "report.h"

#define PARTS_SHOWN_MAX 4
#define OPS_SHOWN_MAX   14 /* of a part that could not be made small */
#define OF_KEY_MAX      60

static const struct {
    const char *workload;
    const struct model *model;
} linearizable[] = {
    {"register", &model_versioned}, {"register-stale", &model_versioned}, {"lamport", &model_lamport}};

static struct finding *add(struct report *p, const char *title)
{
    if (p->findings_n == sizeof p->findings / sizeof p->findings[0])
        return NULL;
    struct finding *f = &p->findings[p->findings_n++];
    snprintf(f->title, sizeof f->title, "%s", title);
    return f;
}

static FILE *finding_file(const struct report *p, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "findings/%s", name);
    return report_file(p, path);
}

static void picture(const struct report *p, const char *name, const char *title, const size_t *invokes,
                    uint32_t n)
{
    char path[64];
    snprintf(path, sizeof path, "findings/%s", name);
    report_intervals(p, path, title, invokes, n);
}

/* Both halves of an operation, in full. */
static void write_op(const struct report *p, FILE *f, size_t i)
{
    const struct history *h = &p->run->history;
    const struct op *o = &h->ops[i], *done = p->pair[i] == HISTORY_NONE ? NULL : &h->ops[p->pair[i]];
    char what[900], answer[900] = "";
    report_op_text(o, what, sizeof what);
    fprintf(f, "#%zu  %.6f s  process %" PRId64 " asked %s: %s\n", i, (double)o->time_ns / 1e9, o->process,
            o->node[0] != 0 ? o->node : "?", what);
    if (done == NULL) {
        fprintf(f, "      never ended\n");
        return;
    }
    if (done->type == OP_OK)
        report_value_text(done->value, answer, sizeof answer);
    fprintf(f, "      %.6f s  %s%s%s  (after %.3f ms)\n", (double)done->time_ns / 1e9,
            done->type == OP_OK     ? "ok "
            : done->type == OP_FAIL ? "refused "
                                    : "unknown ",
            answer, done->error, (double)(done->time_ns - o->time_ns) / 1e6);
}

/* ---- one object that is not what it should be ---- */

/* The whole part for Knossos and Porcupine. */
static void export_part(const struct report *p, const json_t *key, uint32_t number, FILE *text)
{
    static const struct {
        enum export_format format;
        const char *name, *of;
    } formats[] = {{EXPORT_KNOSSOS, "edn", "Knossos"}, {EXPORT_PORCUPINE, "porcupine.txt", "Porcupine"}};
    const struct history *h = &p->run->history;
    struct history part;
    history_init(&part);
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (o->process < 0 || (key != NULL && !json_equal(o->key, (json_t *)key)))
            continue;
        struct op *copy =
            history_add_op(&part, o->time_ns, o->process, o->type, o->f, NULL, json_incref(o->value));
        if (copy == NULL)
            abort();
        memcpy(copy->error, o->error, sizeof copy->error);
    }
    for (size_t k = 0; k < sizeof formats / sizeof formats[0]; k++) {
        char name[40], err[200];
        struct history normal;
        snprintf(name, sizeof name, "linear-%u.%s", number, formats[k].name);
        FILE *f = finding_file(p, name);
        int rv = history_normalise(&part, formats[k].format, SIZE_MAX, &normal);
        if (f != NULL && rv == 0 && export_write(f, &normal, formats[k].format, err, sizeof err) == 0)
            fprintf(text, "All operations of this key, for %s: findings/%s\n", formats[k].of, name);
        history_close(&normal);
        if (f != NULL)
            fclose(f);
    }
    history_close(&part);
}

static int by_invocation(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* The operations to look at: all of a part that was made small, else those around where the search got stuck.
 */
static uint32_t choose(const struct lin_part *part, const struct lin_stuck *stuck, size_t out[OPS_SHOWN_MAX])
{
    uint32_t n = 0, last = stuck->at != LIN_NEVER ? part->ops[stuck->at].ret : LIN_NEVER;
    if (part->n <= OPS_SHOWN_MAX)
        last = LIN_NEVER;
    for (uint32_t left = part->n; left > 0 && n < OPS_SHOWN_MAX; left--) { /* the latest calls first */
        uint32_t latest = LIN_NEVER;
        for (uint32_t i = 0; i < part->n; i++) {
            bool taken = false;
            for (uint32_t k = 0; k < n; k++)
                taken |= out[k] == part->ops[i].invoke;
            if (!taken && part->ops[i].call < last &&
                (latest == LIN_NEVER || part->ops[i].call > part->ops[latest].call))
                latest = i;
        }
        if (latest != LIN_NEVER)
            out[n++] = part->ops[latest].invoke;
    }
    qsort(out, n, sizeof *out, by_invocation);
    return n;
}

static void show_part(struct report *p, const struct model *model, struct lin_part *part,
                      struct lin_stuck *stuck, uint32_t number)
{
    char key[64], title[80];
    size_t shown[OPS_SHOWN_MAX];
    uint32_t all = part->n;
    report_key_text(part->key, key, sizeof key);
    snprintf(title, sizeof title, "key %.40s is not linearizable", key[0] != 0 ? key : "-");
    struct finding *found = add(p, title);
    if (found == NULL)
        return;
    snprintf(found->text, sizeof found->text, "linear-%u.txt", number);
    snprintf(found->picture, sizeof found->picture, "linear-%u.svg", number);
    FILE *f = finding_file(p, found->text);
    if (f == NULL)
        return;
    size_t at = stuck->at != LIN_NEVER ? part->ops[stuck->at].invoke : HISTORY_NONE;
    lin_minimise(model, part);
    if (part->n != all)
        *stuck =
            (struct lin_stuck){.at = LIN_NEVER, .before = LIN_NEVER}; /* its numbers were of the whole part */
    uint32_t n = choose(part, stuck, shown);
    fprintf(f,
            "The %s%s, judged as \"%s\": each operation must take effect at one moment inside its bar (one "
            "without an\n"
            "answer at any later moment, or never).  ",
            key[0] != 0 ? "object with key " : "object", key, model->name);
    if (part->n == n)
        fprintf(f, "No choice of moments gives what these %u of its %u operations returned:\n\n", n, all);
    else
        fprintf(f,
                "No choice of moments gives what its %u operations returned; the search gets no further than "
                "#%zu, the\n"
                "%u before it were:\n\n",
                all, at, n);
    for (uint32_t i = 0; i < n; i++)
        write_op(p, f, shown[i]);
    fputc('\n', f);
    export_part(p, part->key, number, f);
    fclose(f);
    picture(p, found->picture, title, shown, n);
}

static void show_linear(struct report *p, const struct model *model)
{
    struct lin_parts parts;
    char err[160];
    uint32_t shown = 0;
    int rv = lin_split(&p->run->history, model, &parts, err, sizeof err);
    for (size_t i = 0; rv == 0 && i < parts.n && shown < PARTS_SHOWN_MAX; i++) {
        static const struct lin_budget budget = {.ms = 5000};
        struct lin_stuck stuck = {.at = LIN_NEVER, .before = LIN_NEVER};
        const char *why;
        if (wgl_check(model, &parts.parts[i], &budget, &stuck, &why) == INVALID)
            show_part(p, model, &parts.parts[i], &stuck, shown++);
    }
    lin_parts_close(&parts);
}

/* ---- transactions over lists ---- */

static const char *meaning(enum append_anomaly anomaly)
{
    static const char *const plain[] = {
        "A transaction's read contradicts what it read or appended itself before.",
        "A transaction reads an element that it appends only later.",
        "A list holds an element twice, though it was appended once.",
        "A list holds an element that nobody appended.",
        "Aborted read: an element of a transaction that failed was seen.",
        "Intermediate read: a state in the middle of another transaction was seen.",
        "Two reads of one list have different beginnings: there is no one order of its versions.",
        "A transaction that was done built upon one that failed.",
        "Lost update: two transactions read the same version, and both appended to it.",
    };
    static const char *const circles[] = {
        "Write cycle: of two transactions each appended after the other.",
        "Circular flow of information: each transaction saw or followed the one before it, in a circle.",
        "Read skew: a circle in which one transaction missed what another did, and saw what came after.",
        "A circle with several missed appends, none behind the other.",
        "Write skew: a circle of transactions each of which missed what the next one appended.",
    };
    return anomaly < APPEND_G0 ? plain[anomaly] : circles[(anomaly - APPEND_G0) % 5];
}

static void show_anomaly(struct report *p, enum append_anomaly anomaly, const char *why)
{
    size_t named[REPORT_NAMED_MAX];
    const char *name = append_anomaly_name(anomaly);
    char title[80];
    snprintf(title, sizeof title, "anomaly %s", name);
    struct finding *found = add(p, title);
    if (found == NULL)
        return;
    snprintf(found->text, sizeof found->text, "elle/%s.txt", name);
    FILE *f = finding_file(p, found->text);
    if (f == NULL)
        return;
    fprintf(f, "%s\n%s%s\n\n", name, meaning(anomaly),
            strstr(name, "-realtime") != NULL
                ? "  The circle closes through real time: one ended before the other began."
            : strstr(name, "-process") != NULL
                ? "  The circle closes through the order in which one process asked."
                : "");
    for (const char *at = why, *end; at != NULL && *at != 0; at = *end != 0 ? end + 2 : NULL) {
        end = strstr(at, "; ");
        end = end != NULL ? end : at + strlen(at);
        fprintf(f, "  %.*s\n", (int)(end - at), at);
    }
    uint32_t n = report_named(p, why, named, REPORT_NAMED_MAX);
    fputs("\nThe transactions (r: the list that was read; append: key, element):\n\n", f);
    for (uint32_t i = 0; i < n; i++)
        write_op(p, f, named[i]);
    fclose(f);
    if (n == 0)
        return;
    snprintf(found->picture, sizeof found->picture, "elle/%s.svg", name);
    picture(p, found->picture, title, named, n);
}

static void show_lists(struct report *p)
{
    static struct append_report report;
    char err[200], path[320];
    snprintf(path, sizeof path, "%s/findings/elle", p->run->dir);
    mkdir(path, 0755);
    if (append_analyse(&p->run->history, &report, err, sizeof err) != 0)
        return;
    for (unsigned i = 0; i < APPEND_ANOMALY_NR; i++)
        if ((report.found >> i & 1) != 0)
            show_anomaly(p, (enum append_anomaly)i, report.why[i]);
}

/* ---- anything else: the operations, or the object, that the verdict names ---- */

static bool names(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *at = text; length > 0 && (at = strstr(at, key)) != NULL; at++)
        if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length]) &&
            at[length] != '-')
            return true;
    return false;
}

static uint32_t of_named_key(const struct report *p, size_t out[OF_KEY_MAX])
{
    const struct history *h = &p->run->history;
    const json_t *key = NULL;
    for (size_t i = 0; i < h->n && key == NULL; i++)
        if (h->ops[i].process >= 0 && json_is_string(h->ops[i].key) &&
            names(p->v->why, json_string_value(h->ops[i].key)))
            key = h->ops[i].key;
    uint32_t n = 0;
    for (size_t i = 0; key != NULL && i < h->n && n < OF_KEY_MAX; i++)
        if (h->ops[i].process >= 0 && h->ops[i].type == OP_INVOKE && json_equal(h->ops[i].key, (json_t *)key))
            out[n++] = i;
    return n;
}

static void show_named(struct report *p)
{
    size_t ops[OF_KEY_MAX];
    uint32_t n = p->named_n;
    memcpy(ops, p->named, n * sizeof *ops);
    if (n == 0)
        n = of_named_key(p, ops);
    struct finding *found = add(p, n > 0 ? "the operations the verdict names" : "the verdict");
    snprintf(found->text, sizeof found->text, "named.txt");
    FILE *f = finding_file(p, found->text);
    if (f == NULL)
        return;
    fprintf(f, "%s\n\n%s", p->v->why, n > 0 ? "" : "It names no operation; history.txt holds all of them.\n");
    for (uint32_t i = 0; i < n; i++)
        write_op(p, f, ops[i]);
    fclose(f);
    if (n == 0)
        return;
    snprintf(found->picture, sizeof found->picture, "named.svg");
    picture(p, found->picture, found->title, ops, n);
}

void report_findings(struct report *p)
{
    char path[320];
    if (p->v->valid != INVALID)
        return;
    snprintf(path, sizeof path, "%s/findings", p->run->dir);
    mkdir(path, 0755);
    for (size_t i = 0; i < sizeof linearizable / sizeof linearizable[0]; i++)
        if (strcmp(p->run->o.workload->name, linearizable[i].workload) == 0)
            show_linear(p, linearizable[i].model);
    bool lists = false;
    for (size_t i = 0; i < p->run->history.n && !lists; i++)
        lists = strcmp(p->run->history.ops[i].f, "txn") == 0;
    if (lists)
        show_lists(p);
    if (p->findings_n == 0)
        show_named(p);
}
