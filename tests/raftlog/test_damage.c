/* Damages the file of a log in every way a device can, and demands that the node refuses it or reads it
 * unchanged.
 *
 * Not: crashes, hangs, or starts with other entries, term or vote than were durable.  ASSENT_DAMAGE_SEED and
 * ASSENT_DAMAGE_TRIALS choose another run. */
#include "disk_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "writer.h"

#define PAGE 4096

struct image {
    uint8_t *bytes;
    size_t size;
};

/* One changed place. */
struct wound {
    size_t at, size;
    uint8_t bytes[PAGE];
};

typedef void (*wound_fn)(struct wound *w, const struct image *now, const struct image *before);

static size_t random_page(const struct image *image)
{
    return (size_t)random() % (image->size / PAGE) * PAGE;
}

static void flip_bit(struct wound *w, const struct image *now, const struct image *before)
{
    (void)before;
    w->at = (size_t)random() % now->size;
    w->size = 1;
    w->bytes[0] = (uint8_t)(now->bytes[w->at] ^ (1u << (random() % 8)));
}

static void flip_bit_of_a_head(struct wound *w, const struct image *now, const struct image *before)
{
    (void)before;
    w->at = (size_t)random() % (2 * PAGE);
    w->size = 1;
    w->bytes[0] = (uint8_t)(now->bytes[w->at] ^ (1u << (random() % 8)));
}

static void misdirect_write(struct wound *w, const struct image *now, const struct image *before)
{
    (void)before;
    w->at = random_page(now);
    w->size = PAGE;
    memcpy(w->bytes, now->bytes + random_page(now), PAGE);
}

static void lose_write(struct wound *w, const struct image *now, const struct image *before)
{
    (void)now;
    w->at = random_page(before);
    w->size = PAGE;
    memcpy(w->bytes, before->bytes + w->at, PAGE);
}

static void zero_page(struct wound *w, const struct image *now, const struct image *before)
{
    (void)before;
    w->at = random_page(now);
    w->size = PAGE;
    memset(w->bytes, 0, PAGE);
}

static struct image read_image(int fd)
{
    struct image image = {.size = (size_t)lseek(fd, 0, SEEK_END)};
    image.bytes = malloc(image.size);
    assert_non_null(image.bytes);
    assert_int_equal(pread(fd, image.bytes, image.size, 0), image.size);
    return image;
}

static void write_one(struct disk *disk, uint64_t index, uint32_t size)
{
    struct op *op = calloc(1, sizeof *op + sizeof op->entries[0]);
    op->type = OP_APPEND;
    op->index = index;
    op->n = 1;
    op->entries[0] = fixture_entry(index, 1, size);
    assert_int_equal(writer_now(disk, op), 0);
    writer_drop(op);
}

/* What a node would start from, in one number. */
struct sum {
    uint32_t crc;
    uint64_t entries;
};

static int add_entry(void *data, struct entry *e)
{
    struct sum *sum = data;
    const uint64_t head[3] = {e->index, e->term, e->type};
    sum->crc = crc32c(crc32c(sum->crc, head, sizeof head), e->payload, e->size);
    sum->entries++;
    entry_unref(e);
    return 0;
}

static int read_all(struct fixture *f, struct sum *sum)
{
    struct disk *disk;
    int rc = disk_open(&disk, &f->config, f->err, sizeof f->err);
    if (rc != 0) {
        return rc;
    }
    const struct disk_state *s = disk_state(disk);
    const uint64_t head[] = {s->cluster_id,     s->node_id,        s->incarnation, s->term,
                             s->vote,           s->has_snapshot,   s->first_index, s->last_index,
                             s->snapshot.index, s->snapshot.digest};
    *sum = (struct sum){.crc = crc32c(0, head, sizeof head)};
    rc = disk_load(disk, add_entry, sum, f->err, sizeof f->err);
    disk_close(disk, NULL, NULL);
    return rc;
}

enum verdict { SAME, REFUSED, OTHER };

/* In a process of its own: LMDB's handle is given up after a fault. */
static enum verdict judge(struct fixture *f, const struct sum *expected)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct sum sum;
        alarm(30);
        int rc = read_all(f, &sum);
        if (rc != 0) {
            _exit(strstr(f->err, f->dir) != NULL ? REFUSED : OTHER);
        }
        _exit(sum.crc == expected->crc && sum.entries == expected->entries ? SAME : OTHER);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? (enum verdict)WEXITSTATUS(status) : OTHER;
}

static long environment_number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtol(text, NULL, 10);
}

static void try_wounds(struct fixture *f, const char *kind, wound_fn make, uint64_t writes_since)
{
    char path[256];
    struct sum expected;
    struct disk *disk = fixture_member(f);
    for (uint64_t i = 2; i < 400; i++) {
        write_one(disk, i, i % 50 == 0 ? 9000 : 120);
    }
    struct snapshot_manifest manifest = fixture_manifest(f, 300, 1);
    struct op record = {.type = OP_RECORD, .manifest = &manifest}, trim = {.type = OP_COMPACT, .index = 200};
    assert_int_equal(writer_now(disk, &record), 0);
    assert_int_equal(writer_now(disk, &trim), 0);
    snprintf(path, sizeof path, "%s/log/data.mdb", f->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct image before = read_image(fd);
    assert_int_equal(disk_persist_vote(disk, 2, 1), 0);
    for (uint64_t i = 0; i < writes_since; i++) {
        write_one(disk, 400 + i, 120);
    }
    disk_close(disk, NULL, NULL);
    assert_int_equal(read_all(f, &expected), 0);
    struct image now = read_image(fd);

    long seed = environment_number("ASSENT_DAMAGE_SEED", 1),
         trials = environment_number("ASSENT_DAMAGE_TRIALS", 60);
    uint32_t verdicts[3] = {0};
    srandom((unsigned int)seed);
    for (long i = 0; i < trials; i++) {
        struct wound w;
        make(&w, &now, &before);
        assert_int_equal(pwrite(fd, w.bytes, w.size, (off_t)w.at), w.size);
        enum verdict v = judge(f, &expected);
        verdicts[v]++;
        assert_int_equal(pwrite(fd, now.bytes, now.size, 0), now.size);
        if (v == OTHER) {
            fail_msg(
                "%s at byte %zu, trial %ld of ASSENT_DAMAGE_SEED=%ld: neither refused nor read unchanged",
                kind, w.at, i, seed);
        }
    }
    printf("%s: %u refused, %u without effect\n", kind, verdicts[REFUSED], verdicts[SAME]);
    assert_int_equal(judge(f, &expected), SAME); /* no trial changed anything */
    close(fd);
    free(before.bytes);
    free(now.bytes);
}

static void flipped_bits_are_refused_or_harmless(void **state)
{
    try_wounds(*state, "flipped bit", flip_bit, 20);
}

static void flipped_bits_in_the_heads_are_refused_or_harmless(void **state)
{
    try_wounds(*state, "flipped bit of a head", flip_bit_of_a_head, 20);
}

static void misdirected_writes_are_refused_or_harmless(void **state)
{
    try_wounds(*state, "misdirected write", misdirect_write, 20);
}

static void lost_writes_are_refused_or_harmless(void **state)
{
    try_wounds(*state, "lost write", lose_write, 20);
}

static void a_lost_write_of_the_last_vote_is_refused_or_harmless(void **state)
{
    try_wounds(*state, "lost write of the last commit", lose_write, 0);
}

static void zeroed_pages_are_refused_or_harmless(void **state)
{
    try_wounds(*state, "zeroed page", zero_page, 20);
}

static void a_log_restored_from_a_copy_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct sum sum;
    struct disk *disk = fixture_member(f);
    write_one(disk, 2, 10);
    snprintf(path, sizeof path, "%s/log/data.mdb", f->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct image copy = read_image(fd);
    write_one(disk, 3, 10);
    disk_close(disk, NULL, NULL);
    assert_int_equal(read_all(f, &sum), 0);
    assert_int_equal(pwrite(fd, copy.bytes, copy.size, 0), copy.size);
    assert_int_equal(read_all(f, &sum), ASSENT_CORRUPT);
    assert_non_null(strstr(f->err, "ends with entry 2 "));
    assert_non_null(strstr(f->err, "once held entry 3 "));
    free(copy.bytes);
    close(fd);
}

static void without_its_witness_a_log_still_opens(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct sum sum;
    disk_close(fixture_member(f), NULL, NULL);
    snprintf(path, sizeof path, "%s/log/witness", f->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(read_all(f, &sum), 0);
    /* One that lags behind, as after a power cut, does not stop anything either. */
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct image old = read_image(fd);
    struct disk *disk = fixture_open(f);
    write_one(disk, 2, 10);
    disk_close(disk, NULL, NULL);
    assert_int_equal(pwrite(fd, old.bytes, old.size, 0), old.size);
    assert_int_equal(read_all(f, &sum), 0);
    free(old.bytes);
    close(fd);
}

int main(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(flipped_bits_are_refused_or_harmless),
        CASE(flipped_bits_in_the_heads_are_refused_or_harmless),
        CASE(misdirected_writes_are_refused_or_harmless),
        CASE(lost_writes_are_refused_or_harmless),
        CASE(a_lost_write_of_the_last_vote_is_refused_or_harmless),
        CASE(zeroed_pages_are_refused_or_harmless),
        CASE(a_log_restored_from_a_copy_is_refused),
        CASE(without_its_witness_a_log_still_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
