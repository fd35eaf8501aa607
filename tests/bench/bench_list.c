/* Pages of a long list: how long one takes among a million finished transactions, and what finding them costs
 * each transaction.  Run by hand, never a test. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "sm.h"

#define TXNS  1000000u
#define BATCH 1000u

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static struct sm_command cmds[BATCH];
static struct codec_writer writers[BATCH];
static uint64_t at; /* index of the last entry */
static int64_t now_us = 1700000000000000;

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static void one(uint32_t slot, uint32_t type, uint32_t number)
{
    char xid[32];
    struct codec_writer *w = &writers[slot];
    codec_writer_reset(w);
    snprintf(xid, sizeof xid, "order-%08x", number * 0x9e3779b1u);
    command_begin(w, type, NULL, type == COMMAND_TXN_BEGIN ? 4 : 1);
    codec_text(w, text(xid));
    if (type == COMMAND_TXN_BEGIN) {
        codec_nil(w);
        codec_text(w, text(number % 100000 == 7 ? "rare" : "common"));
        codec_text(w, text(xid)); /* business key */
    }
    now_us += 50;
    cmds[slot] =
        (struct sm_command){.index = at, .slot = slot, .time_us = now_us, .command = codec_written(w)};
}

static uint64_t writes(const struct sm *sm, enum store_table table)
{
    return store_writes(sm_store(sm), table);
}

static void fill(struct sm *sm)
{
    double start = seconds();
    for (uint32_t i = 0; i < TXNS; i += BATCH / 2) {
        at++;
        for (uint32_t k = 0; k < BATCH; k++)
            one(k, k % 2 == 0 ? COMMAND_TXN_BEGIN : COMMAND_TXN_COMMIT, i + k / 2);
        sm_apply(sm, cmds, BATCH, at);
    }
    printf("%u transactions begun, committed: %.0f/s; puts and deletes each: heads %.2f, index %.2f, timers "
           "%.2f\n",
           TXNS, TXNS / (seconds() - start), (double)writes(sm, STORE_TXNS) / TXNS,
           (double)writes(sm, STORE_TXN_INDEX) / TXNS, (double)writes(sm, STORE_TIMERS) / TXNS);
}

struct filter {
    const char *what, *status, *type, *after, *key, *order;
    bool failing;
};

static void page(struct sm *sm, const struct filter *f)
{
    enum { RUNS = 20 };
    struct codec_writer w;
    struct codec_arena arena;
    struct result r = {0};
    double worst = 0, sum = 0;
    codec_writer_init(&w);
    codec_arena_init(&arena);
    for (int i = 0; i < RUNS; i++) {
        const char *const texts[] = {f->status, NULL, f->type, f->after, NULL, f->key, f->order};
        codec_writer_reset(&w);
        command_begin(&w, QUERY_TXN_LIST, NULL, QUERY_TXN_LIST_NR);
        for (uint32_t k = 0; k < QUERY_TXN_LIST_NR; k++) {
            if (k < 7 && texts[k] != NULL)
                codec_text(&w, text(texts[k]));
            else if (k == QUERY_TXN_LIST_FAILING && f->failing)
                codec_bool(&w, true);
            else
                codec_nil(&w);
        }
        double start = seconds();
        struct assent_bytes answer = sm_query(sm, codec_written(&w));
        double took = seconds() - start;
        if (!result_decode(&arena, answer, &r) || r.code != 0)
            abort();
        worst = took > worst ? took : worst;
        sum += took;
    }
    printf("%-44s %4u rows   %8.3f ms, worst %8.3f ms\n", f->what,
           codec_size(codec_get(r.data, "transactions")), sum / RUNS * 1e3, worst * 1e3);
    codec_arena_close(&arena);
    codec_writer_close(&w);
}

int main(void)
{
    struct sm *sm;
    char dir[] = "/tmp/assent-bench-XXXXXX", err[256], middle[64];
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    struct sm_config config = {.dir = dir};
    if (sm_open(&sm, &config, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    for (uint32_t i = 0; i < BATCH; i++)
        codec_writer_init(&writers[i]);
    int64_t begun_us = now_us;
    fill(sm);
    snprintf(middle, sizeof middle, "%lld.x", (long long)(begun_us + (now_us - begun_us) / 2));
    const struct filter filters[] = {
        {"all, newest", NULL, NULL, NULL, NULL, NULL, false},
        {"COMMITTED, newest", "COMMITTED", NULL, NULL, NULL, NULL, false},
        {"COMMITTED, oldest", "COMMITTED", NULL, NULL, NULL, "oldest", false},
        {"COMMITTED, from the middle on", "COMMITTED", NULL, middle, NULL, "newest", false},
        {"SUSPENDED (nobody)", "SUSPENDED", NULL, NULL, NULL, NULL, false},
        {"one in 100,000: what one page looks at", "COMMITTED", "rare", NULL, NULL, NULL, false},
        {"by business key", NULL, NULL, NULL, "order-00000000", NULL, false},
        {"failing (nobody)", NULL, NULL, NULL, NULL, NULL, true},
    };
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
        page(sm, &filters[i]);
    printf("state: %.0f MB\n", (double)store_bytes(sm_store(sm)) / 1e6);
    for (uint32_t i = 0; i < BATCH; i++)
        codec_writer_close(&writers[i]);
    sm_close(sm, false);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
