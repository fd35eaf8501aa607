/* Measures the log on disk: commits and entries per second through the writer thread, as the loop drives it.
 *
 *   bench_disk [DIRECTORY [SECONDS]]     default: a new directory under $TMPDIR or /tmp, 2 seconds per row
 *
 * Each row keeps `window` appends of `batch` entries of 200 bytes under way, the next one queued when one is
 * acknowledged; window 1 shows the latency of a lone commit, larger windows what group commit makes of it.
 * Rows with `keep` record a snapshot and compact the log to that many entries whenever it has twice as many:
 * pages are recycled. */
#include <ftw.h>
#include <inttypes.h>
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "disk.h"

#define ENTRY_BYTES 200
#define SAMPLES_MAX 1000000

struct bench {
    struct disk *disk;
    uv_loop_t loop;
    uint64_t next, durable; /* indexes */
    uint32_t batch, window;
    uint64_t keep, compacted;
    uint8_t configuration[256];
    size_t configuration_size;
    uint64_t deadline_us;
    uint32_t samples_n;
    bool failed;
};

static uint32_t samples[SAMPLES_MAX];

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void submit(struct bench *b)
{
    static struct entry *entries[4096];
    while (now_us() < b->deadline_us && b->next - b->durable <= (uint64_t)b->batch * (b->window - 1) + 1) {
        for (uint32_t i = 0; i < b->batch; i++) {
            entries[i] = entry_new(ENTRY_COMMAND, ENTRY_BYTES);
            memset(entries[i]->payload, (int)i, ENTRY_BYTES);
            entry_seal(entries[i], b->next + i, 1);
        }
        disk_append(b->disk, b->next, entries, b->batch);
        b->next += b->batch;
        for (uint32_t i = 0; i < b->batch; i++) {
            entry_unref(entries[i]);
        }
    }
}

static void compact(struct bench *b)
{
    const struct snapshot_manifest manifest = {.index = b->durable,
                                               .term = 1,
                                               .configuration_index = 1,
                                               .configuration = {b->configuration, b->configuration_size},
                                               .chunk_size = 4096};
    b->compacted = b->durable - b->keep;
    disk_record(b->disk, &manifest);
    disk_compact(b->disk, b->compacted);
}

static void on_appended(void *data, uint64_t index, uint64_t term)
{
    struct bench *b = data;
    (void)term;
    b->durable = index;
    if (b->keep != 0 && index - b->compacted > 2 * b->keep) {
        compact(b);
    }
    submit(b);
}

static void on_failed(void *data, int error, const char *what)
{
    (void)error;
    fprintf(stderr, "bench_disk: %s\n", what);
    ((struct bench *)data)->failed = true;
}

static void on_commit(void *data, uint64_t us, uint32_t entries, uint64_t bytes)
{
    struct bench *b = data;
    (void)entries;
    (void)bytes;
    if (b->samples_n < SAMPLES_MAX) {
        samples[b->samples_n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t percentile(const struct bench *b, uint32_t per_mille)
{
    return b->samples_n == 0 ? 0 : samples[(uint64_t)(b->samples_n - 1) * per_mille / 1000];
}

static int bootstrap(struct bench *b, char *err, size_t err_size)
{
    struct raft_configuration configuration;
    struct raft_buffer encoded;
    raft_configuration_init(&configuration);
    int rc = raft_configuration_add(&configuration, 1, "127.0.0.1:1", RAFT_VOTER);
    rc = rc != 0 ? rc : raft_configuration_encode(&configuration, &encoded);
    raft_configuration_close(&configuration);
    if (rc != 0) {
        return rc;
    }
    struct assent_bytes bytes = {encoded.base, encoded.len};
    memcpy(b->configuration, bytes.base, bytes.size < sizeof b->configuration ? bytes.size : 0);
    b->configuration_size = bytes.size;
    rc = disk_bootstrap(b->disk, 1, 1, 1, &bytes, err, err_size);
    raft_free(encoded.base);
    return rc;
}

static int run(const char *dir, uint32_t batch, uint32_t window, uint32_t keep, uint64_t seconds)
{
    const struct disk_config config = {
        .dir = dir, .map_bytes = UINT64_C(16) << 30, .presize_bytes = 64 * 1024 * 1024};
    static struct bench b;
    const struct disk_callbacks callbacks = {
        .data = &b, .appended = on_appended, .failed = on_failed, .commit_us = on_commit};
    char err[512];
    b = (struct bench){.batch = batch, .window = window, .keep = keep};
    if (disk_open(&b.disk, &config, err, sizeof err) != 0 || bootstrap(&b, err, sizeof err) != 0) {
        fprintf(stderr, "bench_disk: %s\n", err);
        return 1;
    }
    uint64_t first = disk_state(b.disk)->last_index + 1;
    b.durable = first - 1;
    b.next = first;
    uv_loop_init(&b.loop);
    disk_start(b.disk, &b.loop, &callbacks);
    uint64_t start = now_us();
    b.deadline_us = start + seconds * 1000000;
    submit(&b);
    while (b.durable + 1 < b.next && !b.failed) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    double elapsed = (double)(now_us() - start) / 1e6;
    disk_close(b.disk, NULL, NULL);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    uv_loop_close(&b.loop);
    qsort(samples, b.samples_n, sizeof samples[0], by_value);
    printf("%6" PRIu32 " %7" PRIu32 " %7" PRIu32 " %11.0f %12.0f %8" PRIu32 " %8" PRIu32 " %8" PRIu32 "\n",
           batch, window, keep, (double)b.samples_n / elapsed, (double)(b.durable + 1 - first) / elapsed,
           percentile(&b, 500), percentile(&b, 990), percentile(&b, 999));
    return b.failed ? 1 : 0;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info;
    (void)flag;
    (void)ftw;
    return remove(path);
}

int main(int argc, char **argv)
{
    static const uint32_t rows[][3] = {{1, 1, 0},    {100, 1, 0},     {1000, 1, 0},     {1, 64, 0},
                                       {1, 1024, 0}, {100, 1, 20000}, {1000, 1, 50000}, {100, 4, 50000}};
    char dir[256];
    const char *tmp = getenv("TMPDIR");
    uint64_t seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : 2;
    snprintf(dir, sizeof dir, "%s/assent-bench-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (argc <= 1 && mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    printf(" batch  window    keep   commits/s    entries/s  p50(us)  p99(us) p99.9(us)\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char row[300];
        snprintf(row, sizeof row, "%s/%zu", argc > 1 ? argv[1] : dir, i);
        if (run(row, rows[i][0], rows[i][1], rows[i][2], seconds) != 0) {
            return 1;
        }
    }
    if (argc <= 1) {
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    return 0;
}
