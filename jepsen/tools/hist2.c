/* hist2 FORMAT history.jsonl OUTPUT: a history in the format of another checker.
 *
 *   FORMAT   knossos, porcupine (OUTPUT is a folder: one file per key), elle-edn, elle-json, csv (OUTPUT is a
 * file) hist2 check MODEL history.jsonl [--engine wgl|jit|zones]: our own verdict; exit 0 valid, 1 invalid, 2
 * unknown MODEL    register, cas-register, versioned, mutex, lamport, counter, append, set, tso, unique,
 * watch, lock, decide, saga, idempotency Exit 3: the history is malformed, or cannot be said in that format.
 */
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

static int check(const struct history *h, const char *model, const char *engine)
{
    static const char *const engines[] = {"wgl", "jit", "zones"};
    struct verdict v;
    size_t i = 0, e = 0;
    while (i < sizeof checkers / sizeof checkers[0] && strcmp(checkers[i].name, model) != 0)
        i++;
    while (e < 3 && engine != NULL && strcmp(engines[e], engine) != 0)
        e++;
    if (e == 3)
        return complain(engine, "no such engine");
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

int main(int argc, char **argv)
{
    bool checking = argc > 1 && strcmp(argv[1], "check") == 0;
    if (argc < 4 || (!checking && argc != 4) || (checking && argc != 4 && argc != 6) ||
        (argc == 6 && strcmp(argv[4], "--engine") != 0)) {
        fputs("usage: hist2 knossos|porcupine|elle-edn|elle-json|csv HISTORY OUTPUT\n"
              "       hist2 check MODEL HISTORY [--engine wgl|jit|zones]\n",
              stderr);
        return HARNESS_ERROR;
    }
    struct history h;
    char err[200];
    const char *path = checking ? argv[3] : argv[2];
    history_init(&h);
    int rv;
    if (history_read(path, &h, err, sizeof err) != 0 || history_validate(&h, err, sizeof err) != 0)
        rv = complain(path, err);
    else if (checking)
        rv = check(&h, argv[2], argc == 6 ? argv[5] : NULL);
    else if (export_find(argv[1]) == EXPORT_FORMAT_NR)
        rv = complain(argv[1], "no such format");
    else
        rv = write_all(&h, export_find(argv[1]), argv[3]);
    history_close(&h);
    return rv;
}
