/* A history in the format of another checker, or our verdict on it.
 *
 *   hist2 knossos|porcupine HISTORY FOLDER          one file per key
 *   hist2 elle-edn|elle-json|csv HISTORY FILE
 *   hist2 check MODEL HISTORY [--engine wgl|jit|zones] [--parts]
 *
 * HISTORY is a run's folder, a .jsonl, or what was exported before: .edn, .json (Elle), .txt (Porcupine).
 * MODEL: register, cas-register, versioned, mutex, lamport, counter, append, set, tso, unique, watch, lock,
 * decide, saga, idempotency.
 * --parts: a line for each key of an object that has to be linearizable.  Exit: 0 valid, 1 invalid, 2
 * unknown, 3 the history is malformed, or cannot be said in that format. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "append.h"
#include "export.h"
#include "lin.h"
#include "linear.h"

#define HARNESS_ERROR 3

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "hist2: %s: %s\n", what, why);
    return HARNESS_ERROR;
}

static int write_part(const struct history *h, enum export_format format, size_t key, const char *path)
{
    struct history normal;
    char err[200] = "out of memory";
    FILE *out = fopen(path, "w");
    if (out == NULL)
        return complain(path, strerror(errno));
    int rv = history_normalise(h, format, key, &normal);
    if (rv == 0)
        rv = export_write(out, &normal, format, err, sizeof err);
    history_close(&normal);
    if (fclose(out) != 0 && rv == 0) {
        snprintf(err, sizeof err, "%s", strerror(errno));
        rv = -1;
    }
    return rv == 0 ? 0 : complain(path, err);
}

static int write_all(const struct history *h, enum export_format format, const char *output)
{
    if (!export_per_key(format))
        return write_part(h, format, SIZE_MAX, output);
    if (mkdir(output, 0777) != 0 && errno != EEXIST)
        return complain(output, strerror(errno));
    size_t keys = history_keys(h);
    int rv = 0;
    for (size_t key = 0; key < keys && rv == 0; key++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/key-%04zu.%s", output, key, format == EXPORT_KNOSSOS ? "edn" : "txt");
        rv = write_part(h, format, key, path);
    }
    return rv;
}

static void set(const struct history *h, struct verdict *v)
{
    check_set(h, true, v);
}

static void append(const struct history *h, struct verdict *v)
{
    check_append(h, APPEND_STRICT, v);
}

static void tso(const struct history *h, struct verdict *v)
{
    check_tso(h, "tso", v);
}

static void unique(const struct history *h, struct verdict *v)
{
    check_unique(h, "id", v);
}

static const struct {
    const char *name;
    void (*check)(const struct history *h, struct verdict *v);
} checkers[] = {{"set", set},
                {"append", append},
                {"tso", tso},
                {"unique", unique},
                {"watch", check_watch},
                {"lock", check_lock},
                {"decide", check_decide},
                {"saga", check_saga},
                {"idempotency", check_idempotency}};

static const char *const engines[] = {"wgl", "jit", "zones"};

static size_t engine_find(const char *name)
{
    size_t e = 0;
    while (name != NULL && e < 3 && strcmp(engines[e], name) != 0)
        e++;
    return e;
}

/* A line for each key: verdict, key, operations that constrain something. */
static int check_parts(const struct history *h, const struct model *model, size_t engine)
{
    struct lin_parts parts;
    char err[160];
    enum verdict_valid worst = VALID;
    static const int weight[] = {[VALID] = 0, [UNKNOWN] = 1, [INVALID] = 2};
    if (lin_split(h, model, &parts, err, sizeof err) != 0) {
        lin_parts_close(&parts);
        return complain(model->name, err);
    }
    for (size_t i = 0; i < parts.n; i++) {
        const struct lin_part *part = &parts.parts[i];
        struct lin_stuck stuck;
        const char *why;
        // cppcheck-suppress uninitvar ; it is initialised here
        enum verdict_valid (*const checks[])(const struct model *, const struct lin_part *,
                                             const struct lin_budget *, struct lin_stuck *,
                                             const char **) = {wgl_check, jit_check, zones_check};
        enum verdict_valid valid = checks[engine](model, part, NULL, &stuck, &why);
        char *key =
            part->key == NULL ? NULL : json_dumps(part->key, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
        printf("%s\t%s\t%u\n", verdict_name(valid), key != NULL ? key : "null", part->n);
        free(key);
        worst = weight[valid] > weight[worst] ? valid : worst;
    }
    lin_parts_close(&parts);
    return verdict_exit(worst);
}

static int check(const struct history *h, const char *model, const char *engine, bool parts)
{
    struct verdict v;
    size_t i = 0, e = engine_find(engine);
    while (i < sizeof checkers / sizeof checkers[0] && strcmp(checkers[i].name, model) != 0)
        i++;
    if (e == 3)
        return complain(engine, "no such engine");
    if (parts && model_find(model) != NULL)
        return check_parts(h, model_find(model), engine != NULL ? e : LIN_WGL);
    if (i < sizeof checkers / sizeof checkers[0])
        checkers[i].check(h, &v);
    else if (model_find(model) != NULL)
        check_linearizable(h, model_find(model), (enum lin_engine)e, engine == NULL, NULL, &v);
    else
        return complain(model, "no such model");
    printf("%s\t%llu judged, %llu undecided%s%s\n", verdict_name(v.valid), (unsigned long long)v.checked,
           (unsigned long long)v.unknown_parts, v.why[0] == '\0' ? "" : "\t", v.why);
    return v.malformed ? HARNESS_ERROR : verdict_exit(v.valid);
}

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcmp(path + n - m, end) == 0;
}

/* By the name's end; see above.  Lines of Porcupine carry no times: their order is all there is. */
static int read_any(const char *path, struct history *h, char *err, size_t err_size)
{
    static const struct {
        const char *end;
        enum export_format format;
    } formats[] = {{".edn", EXPORT_KNOSSOS}, {".json", EXPORT_ELLE_JSON}, {".txt", EXPORT_PORCUPINE}};
    struct stat st;
    char inside[4096];
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        snprintf(inside, sizeof inside, "%s/history.jsonl", path);
        return history_read(inside, h, err, err_size);
    }
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (!ends_with(path, formats[i].end))
            continue;
        FILE *in = fopen(path, "re");
        if (in == NULL) {
            snprintf(err, err_size, "%s", strerror(errno));
            return -1;
        }
        int rv = export_read(in, formats[i].format, h, err, err_size);
        fclose(in);
        for (size_t k = 0; k < h->n && formats[i].format == EXPORT_PORCUPINE; k++)
            h->ops[k].time_ns = k;
        return rv;
    }
    return history_read(path, h, err, err_size);
}

static int usage(void)
{
    fputs("usage: hist2 knossos|porcupine|elle-edn|elle-json|csv HISTORY OUTPUT\n"
          "       hist2 check MODEL HISTORY [--engine wgl|jit|zones] [--parts]\n"
          "HISTORY: a run's folder, .jsonl, .edn, .json, .txt\n",
          stderr);
    return HARNESS_ERROR;
}

int main(int argc, char **argv)
{
    bool checking = argc > 1 && strcmp(argv[1], "check") == 0, parts = false;
    const char *engine = NULL;
    if (argc < 4)
        return usage();
    for (int i = 4; i < argc; i++) {
        if (checking && strcmp(argv[i], "--engine") == 0 && i + 1 < argc)
            engine = argv[++i];
        else if (checking && strcmp(argv[i], "--parts") == 0)
            parts = true;
        else
            return usage();
    }
    struct history h;
    char err[200];
    const char *path = checking ? argv[3] : argv[2];
    history_init(&h);
    int rv;
    if (read_any(path, &h, err, sizeof err) != 0 || history_validate(&h, err, sizeof err) != 0)
        rv = complain(path, err);
    else if (checking)
        rv = check(&h, argv[2], engine, parts);
    else if (export_find(argv[1]) == EXPORT_FORMAT_NR)
        rv = complain(argv[1], "no such format");
    else
        rv = write_all(&h, export_find(argv[1]), argv[3]);
    history_close(&h);
    return rv;
}
