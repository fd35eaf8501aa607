/* DTM's metric names, for dashboards that are there already.  Labels are of closed sets: no gid, no query
 * string and no branch number makes a series of its own.  Source: dtm-features.md 6. */
#include <stdlib.h>
#include <string.h>

#include "dtm_private.h"

enum { OK, FAIL, RESULT_NR };
static const char *const results[RESULT_NR] = {"ok", "fail"};
/* Modes and operations by their names in events. */
static const char *const modes[] = {"SAGA", "TCC", "XA", "MESSAGE", "WORKFLOW"};
static const char *const ops[] = {"action", "compensate", "confirm", "cancel", "query", "callback"};
enum { MODE_NR = sizeof modes / sizeof modes[0], BRANCH_OP_NR = sizeof ops / sizeof ops[0] };
static_assert((int)MODE_NR == (int)DTM_TYPE_NR, "modes stand in the order of enum dtm_type");

/* Transactions whose begin this node remembers, to tell how long they took. */
#define BEGUN_MAX 8192

struct dtm_metrics {
    uint64_t requests[DTM_OP_NR][RESULT_NR];
    struct raftlog_histogram took[DTM_OP_NR];
    uint64_t rounds[MODE_NR][RESULT_NR];
    uint64_t branches[MODE_NR][BRANCH_OP_NR][RESULT_NR];
    struct raftlog_histogram handled[MODE_NR];
    struct begun {
        uint64_t hash;
        int64_t time_us;
    } begun[BEGUN_MAX];
};

struct dtm_metrics *dtm_metrics_open(void)
{
    struct dtm_metrics *m = calloc(1, sizeof *m);
    if (m == NULL)
        abort();
    return m;
}

void dtm_metrics_close(struct dtm_metrics *m)
{
    free(m);
}

static void observe(struct raftlog_histogram *h, uint64_t us)
{
    uint32_t bucket = 0;
    h->count++;
    h->sum_us += us;
    while (bucket < RAFTLOG_BUCKETS - 1 && us > raftlog_bucket_us[bucket])
        bucket++;
    h->bucket[bucket]++;
}

void dtm_metrics_request(struct dtm_metrics *m, enum dtm_op op, int http_status, uint64_t took_us)
{
    m->requests[op][http_status >= 400 ? FAIL : OK]++;
    observe(&m->took[op], took_us);
}

static unsigned index_of(const char *const *names, unsigned n, const char *name)
{
    unsigned i = 0;
    while (i < n && (name == NULL || strcmp(names[i], name) != 0))
        i++;
    return i;
}

static uint64_t hash_of(struct assent_bytes xid)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < xid.size; i++)
        h = (h ^ xid.base[i]) * UINT64_C(1099511628211);
    return h;
}

static void status_event(struct dtm_metrics *m, unsigned mode, const struct sm_event *e)
{
    uint64_t hash = hash_of(e->xid);
    struct begun *begun = &m->begun[hash % BEGUN_MAX];
    if (!e->final) {
        if (begun->hash != hash)
            *begun = (struct begun){hash, e->time_us};
        return;
    }
    m->rounds[mode][e->status != NULL && strcmp(e->status, "COMMITTED") == 0 ? OK : FAIL]++;
    if (begun->hash == hash && e->time_us >= begun->time_us)
        observe(&m->handled[mode], (uint64_t)(e->time_us - begun->time_us));
    else
        observe(&m->handled[mode], 0); /* begun and ended by one command */
    *begun = (struct begun){0};
}

/* The operation whose end a branch's status tells. */
static const char *op_done(const char *status)
{
    static const char *const rows[][2] = {{"EXECUTED", "action"},
                                          {"COMPENSATED", "compensate"},
                                          {"CONFIRMED", "confirm"},
                                          {"CANCELLED", "cancel"}};
    for (size_t i = 0; status != NULL && i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(status, rows[i][0]) == 0)
            return rows[i][1];
    return NULL;
}

void dtm_metrics_event(void *data, const struct sm_event *e)
{
    struct dtm *dtm = data;
    struct dtm_metrics *m = dtm->metrics;
    unsigned mode = index_of(modes, MODE_NR, e->mode);
    if (dtm->node->role != RAFTLOG_LEADER || mode == MODE_NR)
        return; /* every node is told; one counts */
    if (e->kind == SM_EVENT_STATUS) {
        status_event(m, mode, e);
        return;
    }
    bool failed = e->kind == SM_EVENT_CALL && e->outcome != SM_OUTCOME_ONGOING;
    const char *done = e->kind == SM_EVENT_BRANCH ? op_done(e->status) : NULL;
    unsigned op = index_of(ops, BRANCH_OP_NR, failed ? e->op : done);
    if (op == BRANCH_OP_NR)
        return;
    m->branches[mode][op][failed ? FAIL : OK]++;
    if (failed)
        m->rounds[mode][FAIL]++;
}

/* ---- the page ---- */

static void head(struct text *out, const char *name, const char *type, const char *help)
{
    text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void histogram(struct text *out, const char *name, const char *labels,
                      const struct raftlog_histogram *h)
{
    uint64_t below = 0;
    if (h->count == 0)
        return;
    for (uint32_t i = 0; i < RAFTLOG_BUCKETS - 1; i++) {
        below += h->bucket[i];
        text_printf(out, "%s_bucket{%s,le=\"%g\"} %llu\n", name, labels, (double)raftlog_bucket_us[i] / 1e6,
                    (unsigned long long)below);
    }
    text_printf(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %.6f\n%s_count{%s} %llu\n", name, labels,
                (unsigned long long)h->count, name, labels, (double)h->sum_us / 1e6, name, labels,
                (unsigned long long)h->count);
}

static void put_counts(const struct dtm_metrics *m, const char *name, struct text *out)
{
    head(out, name, "counter", "Requests of the DTM door by path and result.");
    for (int op = 0; op < DTM_OP_NR; op++)
        for (int i = 0; i < RESULT_NR; i++)
            if (m->requests[op][i] > 0)
                text_printf(out, "%s{type=\"http\",api=\"%s\",status=\"%s\"} %llu\n", name,
                            dtm_op_name((enum dtm_op)op), results[i], (unsigned long long)m->requests[op][i]);
}

void dtm_metrics_put(const struct dtm *dtm, struct text *out)
{
    put_counts(dtm->metrics, "assent_dtm_requests_total", out);
}

static void put_requests(const struct dtm_metrics *m, struct text *out)
{
    char labels[64];
    put_counts(m, "dtm_server_process_total", out);
    head(out, "dtm_server_response_duration", "histogram", "Seconds from the request to its answer.");
    for (int op = 0; op < DTM_OP_NR; op++) {
        snprintf(labels, sizeof labels, "type=\"http\",api=\"%s\"", dtm_op_name((enum dtm_op)op));
        histogram(out, "dtm_server_response_duration", labels, &m->took[op]);
    }
}

static void put_transactions(const struct dtm_metrics *m, struct text *out)
{
    char labels[64];
    head(out, "dtm_transaction_process_total", "counter",
         "Transactions that ended well or not, and failed calls on the way, by mode; counted by the leader.");
    for (unsigned mode = 0; mode < MODE_NR; mode++)
        for (int i = 0; i < RESULT_NR; i++)
            if (m->rounds[mode][i] > 0)
                text_printf(out, "dtm_transaction_process_total{model=\"%s\",status=\"%s\"} %llu\n",
                            dtm_type_name((enum dtm_type)mode), results[i],
                            (unsigned long long)m->rounds[mode][i]);
    head(out, "dtm_transaction_handled_duration", "histogram", "Seconds from begin to end.");
    for (unsigned mode = 0; mode < MODE_NR; mode++) {
        snprintf(labels, sizeof labels, "model=\"%s\"", dtm_type_name((enum dtm_type)mode));
        histogram(out, "dtm_transaction_handled_duration", labels, &m->handled[mode]);
    }
    head(out, "dtm_branch_process_total", "counter", "Calls of branches by mode, operation and result.");
    for (unsigned mode = 0; mode < MODE_NR; mode++)
        for (unsigned op = 0; op < BRANCH_OP_NR; op++)
            for (int i = 0; i < RESULT_NR; i++)
                if (m->branches[mode][op][i] > 0)
                    text_printf(
                        out, "dtm_branch_process_total{model=\"%s\",branchtype=\"%s\",status=\"%s\"} %llu\n",
                        dtm_type_name((enum dtm_type)mode), ops[op], results[i],
                        (unsigned long long)m->branches[mode][op][i]);
}

void dtm_metrics_page(const struct dtm *dtm, struct text *out)
{
    head(out, "dtm_server_info", "gauge", "What runs here.");
    text_printf(out, "dtm_server_info{server=\"assent\",version=\"%s\"} 1\n", NODE_VERSION);
    put_requests(dtm->metrics, out);
    put_transactions(dtm->metrics, out);
}
