/* How many lamport_tick commands a second one core applies, by batch size and kind of session. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "statemachine.h"

#define CLIENTS   64
#define BATCH_MAX 1000

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

struct bench {
    struct sm *sm;
    uint64_t index;
    uint64_t clients[CLIENTS];
    uint64_t sequence; /* of all clients, in turn */
    struct sm_command cmds[BATCH_MAX];
    struct codec_writer writers[BATCH_MAX];
};

static void one(struct bench *b, uint32_t i, uint32_t type, const struct command_session *session)
{
    codec_writer_reset(&b->writers[i]);
    command_begin(&b->writers[i], type, session, 0);
    b->cmds[i] = (struct sm_command){.index = b->index, .slot = i, .time_us = 1, .awaited = true};
    b->cmds[i].command = codec_written(&b->writers[i]);
}

static void open_sessions(struct bench *b)
{
    b->index++;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        one(b, i, COMMAND_SESSION_OPEN, NULL);
        b->clients[i] = assent_position(b->index, i);
    }
    sm_apply(b->sm, b->cmds, CLIENTS, b->index);
}

/* Each client waits for its answer before the next request, so it acknowledges all before. */
static void name(struct bench *b, struct command_session *s, enum session_kind kind, char *key, size_t size)
{
    uint64_t n = b->sequence++;
    s->kind = kind;
    s->client = b->clients[n % CLIENTS];
    s->sequence = n / CLIENTS + 1;
    s->acknowledged = s->sequence - 1;
    if (kind == SESSION_KEY) {
        int used = snprintf(key, size, "8d3c1f0a-0000-4000-8000-%012llx",
                            (unsigned long long)(n * 0x9e3779b97f4a7c15u & 0xffffffffffffu));
        s->key = (struct assent_bytes){(const uint8_t *)key, (size_t)used};
    }
}

static void run(struct bench *b, uint32_t batch, enum session_kind kind, const char *what)
{
    double applying = 0, queried = 0;
    uint64_t done = 0;
    static char keys[BATCH_MAX][64];
    while (applying < 1.0) {
        b->index++;
        for (uint32_t i = 0; i < batch; i++) {
            struct command_session s = {.kind = SESSION_NONE};
            if (kind != SESSION_NONE)
                name(b, &s, kind, keys[i], sizeof keys[i]);
            one(b, i, COMMAND_LAMPORT_TICK, &s);
        }
        double start = seconds();
        sm_apply(b->sm, b->cmds, batch, b->index);
        applying += seconds() - start;
        done += batch;
    }
    struct codec_writer w;
    codec_writer_init(&w);
    command_begin(&w, QUERY_LAMPORT, NULL, 0);
    double start = seconds();
    for (int i = 0; i < 100000; i++)
        sm_query(b->sm, codec_written(&w));
    queried = seconds() - start;
    codec_writer_close(&w);
    printf("%-20s batch %4u: %9.0f commands/s   (queries: %9.0f/s)\n", what, batch, (double)done / applying,
           100000 / queried);
}

int main(void)
{
    static struct bench b;
    char dir[] = "/tmp/assent-bench-XXXXXX", err[256];
    const uint32_t batches[] = {1, 64, 1000};
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    struct sm_config config = {.dir = dir};
    if (sm_open(&b.sm, &config, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    for (int i = 0; i < BATCH_MAX; i++)
        codec_writer_init(&b.writers[i]);
    open_sessions(&b);
    for (size_t i = 0; i < 3; i++)
        run(&b, batches[i], SESSION_NONE, "no session");
    for (size_t i = 0; i < 3; i++)
        run(&b, batches[i], SESSION_SEQUENCE, "64 sessions");
    for (size_t i = 0; i < 3; i++)
        run(&b, batches[i], SESSION_KEY, "idempotency keys");
    for (int i = 0; i < BATCH_MAX; i++)
        codec_writer_close(&b.writers[i]);
    sm_close(b.sm, false);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
