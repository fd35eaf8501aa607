/* Faults on demand: rules, counts and dice. */
#include "simulate.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "signature.h" /* url_below() */

struct rule {
    char *url; /* NULL: any */
    char mode[16];
    char op[16];
    enum simulate_fault fault;
    uint64_t left;        /* UINT64_MAX: always */
    uint64_t probability; /* of 2^32 */
};

struct simulate {
    uint64_t dice;
    uint32_t n;
    struct rule rule[SIMULATE_RULES_MAX];
};

static const char *const fault_names[SIMULATE_FAULT_NR] = {
    [SIMULATE_NONE] = "none",
    [SIMULATE_FAIL_BEFORE] = "fail-before",
    [SIMULATE_FAIL_AFTER] = "fail-after",
    [SIMULATE_TIMEOUT] = "timeout",
    [SIMULATE_REFUSE] = "refuse",
    [SIMULATE_CRASH_BEFORE] = "crash-before",
    [SIMULATE_CRASH] = "crash",
};

const char *simulate_fault_name(enum simulate_fault fault)
{
    assert((unsigned)fault < SIMULATE_FAULT_NR);
    return fault_names[fault];
}

/* SplitMix64, Steele et al. 2014. */
static uint64_t throw(struct simulate * s)
{
    uint64_t z = s->dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- rules ---- */

static bool is_mode(const char *value)
{
    static const char *const names[] = {"TCC", "XA", "SAGA", "MESSAGE", "WORKFLOW"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(value, names[i]) == 0)
            return true;
    return false;
}

static bool is_op(const char *value)
{
    for (int op = SM_OP_CONFIRM; op < SM_OP_NR; op++)
        if (strcmp(value, sm_op_name((enum sm_op)op)) == 0)
            return true;
    return false;
}

static bool rule_fault(struct rule *r, const char *value)
{
    for (int i = SIMULATE_NONE + 1; i < SIMULATE_FAULT_NR; i++) {
        if (strcmp(value, fault_names[i]) == 0) {
            r->fault = (enum simulate_fault)i;
            return true;
        }
    }
    return false;
}

static bool rule_count(struct rule *r, const char *value)
{
    char *end;
    if (*value < '0' || *value > '9')
        return false;
    errno = 0;
    r->left = strtoull(value, &end, 10);
    return *end == 0 && errno == 0 && r->left < UINT64_MAX;
}

static bool rule_probability(struct rule *r, const char *value)
{
    char *end;
    double p = strtod(value, &end);
    if (end == value || *end != 0 || !(p >= 0 && p <= 1))
        return false;
    r->probability = (uint64_t)(p * 4294967296.0 + 0.5);
    return true;
}

static bool rule_set(struct rule *r, const char *key, const char *value)
{
    if (strcmp(key, "url") == 0) {
        free(r->url);
        r->url = strdup(value);
        return *value != 0;
    }
    if (strcmp(key, "mode") == 0) {
        snprintf(r->mode, sizeof(r->mode), "%.15s", value);
        return is_mode(value);
    }
    if (strcmp(key, "op") == 0) {
        snprintf(r->op, sizeof(r->op), "%.15s", value);
        return is_op(value);
    }
    if (strcmp(key, "fault") == 0)
        return rule_fault(r, value);
    if (strcmp(key, "count") == 0)
        return rule_count(r, value);
    return strcmp(key, "probability") == 0 && rule_probability(r, value);
}

static bool rule_parse(struct rule *r, const char *text, char *err, size_t err_size)
{
    char *whole = strdup(text), *rest = whole, *pair;
    bool ok = true;
    assert(whole != NULL);
    *r = (struct rule){.left = UINT64_MAX, .probability = UINT64_C(1) << 32};
    while (ok && (pair = strsep(&rest, ",")) != NULL) {
        char *value = strchr(pair, '=');
        if (value != NULL)
            *value++ = 0;
        ok = value != NULL && rule_set(r, pair, value);
        if (!ok)
            snprintf(err, err_size,
                     "--simulate: '%.60s%s%.60s' is no part of a rule; see docs/transactions.md", pair,
                     value != NULL ? "=" : "", value != NULL ? value : "");
    }
    free(whole);
    if (ok && r->fault == SIMULATE_NONE) {
        snprintf(err, err_size, "--simulate: the rule '%.100s' names no fault", text);
        ok = false;
    }
    return ok;
}

bool simulate_open(struct simulate **out, char *const *rules, uint32_t n, uint64_t seed, char *err,
                   size_t err_size)
{
    struct simulate *s = calloc(1, sizeof(*s));
    assert(s != NULL);
    s->dice = seed;
    *out = s;
    for (uint32_t i = 0; i < n; i++) {
        if (i == SIMULATE_RULES_MAX) {
            snprintf(err, err_size, "--simulate may be given %d times at most", SIMULATE_RULES_MAX);
            goto err_after_open;
        }
        s->n++;
        if (!rule_parse(&s->rule[i], rules[i], err, err_size))
            goto err_after_open;
    }
    return true;

err_after_open:
    simulate_close(s);
    *out = NULL;
    return false;
}

void simulate_close(struct simulate *s)
{
    for (uint32_t i = 0; s != NULL && i < s->n; i++)
        free(s->rule[i].url);
    free(s);
}

/* ---- a call ---- */

static bool rule_fits(const struct rule *r, const struct sm_work *work)
{
    return r->left > 0 && (r->url == NULL || url_below(work->url, r->url)) &&
           (r->mode[0] == 0 ||
            (work->mode.size == strlen(r->mode) && memcmp(work->mode.base, r->mode, work->mode.size) == 0)) &&
           (r->op[0] == 0 || strcmp(r->op, sm_op_name(work->op)) == 0);
}

enum simulate_fault simulate_pick(struct simulate *s, const struct sm_work *work, uint32_t *rule)
{
    for (uint32_t i = 0; s != NULL && i < s->n; i++) {
        struct rule *r = &s->rule[i];
        if (!rule_fits(r, work) || throw(s) >> 32 >= r->probability)
            continue;
        if (r->left != UINT64_MAX)
            r->left--;
        *rule = i;
        return r->fault;
    }
    return SIMULATE_NONE;
}
