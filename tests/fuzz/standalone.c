/* Drives a fuzzer without libFuzzer: every file of its seed corpus, then seeded mutations of them for a
 * while.
 *
 *   fuzz_x CORPUS-DIRECTORY...     seeds, then mutations until ASSENT_FUZZ_SECONDS (default 2) have passed
 *   fuzz_x FILE...                 these inputs only: how a saved failure is run again
 *
 * Mutation number k depends on ASSENT_FUZZ_SEED (default 1) and k alone, so a run repeats exactly, however
 * fast the machine.  An input that kills the process is saved as NAME.crash in the working directory. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_BYTES_MAX (1 << 16)
#define SEEDS_MAX       1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Some fuzzers set up a directory or a table once; libFuzzer knows it by this name. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);
/* The sanitizers' hook; absent in a build without them. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

struct input {
    uint8_t *bytes;
    size_t size;
};

/* What the process is working on, for the crash file.  Global because a signal handler reads it. */
static uint8_t *running;
static volatile size_t running_size;
static char crash_path[256];

static void save_running(void)
{
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) {
        ssize_t done = write(fd, running, running_size);
        (void)done;
        close(fd);
    }
}

static void die(int signal_number)
{
    save_running();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* The input sits at the end of its own allocation, so that the address sanitizer sees the first byte past it.
 */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, bytes, size);
    running = copy;
    running_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    running_size = 0;
    free(copy);
}

/* SplitMix64: one multiply-xor chain per number, good enough to pick positions. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t bound)
{
    return bound == 0 ? 0 : (size_t)(next_random(state) % bound);
}

/* One change in place; returns the new size.  `bytes` has room for INPUT_BYTES_MAX. */
static size_t mutate_once(uint8_t *bytes, size_t size, const struct input *other, uint64_t *state)
{
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xc1, 0xdf, 0xff};
    size_t at = below(state, size);
    size_t length = 1 + below(state, 16);
    switch (below(state, 8)) {
    case 0: /* flip a bit */
        if (size > 0) {
            bytes[at] ^= (uint8_t)(1u << below(state, 8));
        }
        return size;
    case 1: /* an edge value */
        if (size > 0) {
            bytes[at] = edges[below(state, sizeof edges)];
        }
        return size;
    case 2: /* add a little, as lengths and counts are hit by it */
        if (size > 0) {
            bytes[at] = (uint8_t)(bytes[at] + 1 + below(state, 8) - 4);
        }
        return size;
    case 3: /* cut the tail */
        return at;
    case 4: /* remove a run */
        if (length > size - at) {
            length = size - at;
        }
        memmove(bytes + at, bytes + at + length, size - at - length);
        return size - length;
    case 5: /* insert a run of random bytes */
        if (size + length > INPUT_BYTES_MAX) {
            return size;
        }
        memmove(bytes + at + length, bytes + at, size - at);
        for (size_t i = 0; i < length; i++) {
            bytes[at + i] = (uint8_t)next_random(state);
        }
        return size + length;
    case 6: /* overwrite with a piece of another seed */
        if (other->size > 0 && size > 0) {
            size_t from = below(state, other->size);
            if (length > other->size - from) {
                length = other->size - from;
            }
            if (length > size - at) {
                length = size - at;
            }
            memcpy(bytes + at, other->bytes + from, length);
        }
        return size;
    default: /* repeat a run */
        if (length > size - at) {
            length = size - at;
        }
        if (size + length > INPUT_BYTES_MAX) {
            return size;
        }
        memmove(bytes + at + length, bytes + at, size - at);
        return size + length;
    }
}

static bool read_input(const char *path, struct input *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    out->bytes = malloc(INPUT_BYTES_MAX);
    out->size = out->bytes == NULL ? 0 : fread(out->bytes, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    return out->bytes != NULL;
}

static size_t read_directory(const char *path, struct input *inputs, size_t n)
{
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort); /* sorted: a run must not depend on directory order */
    for (int i = 0; i < count; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && n < SEEDS_MAX && read_input(file, &inputs[n])) {
            n++;
        }
        free(names[i]);
    }
    if (count >= 0) {
        free(names);
    }
    return n;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t environment_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static uint64_t run_mutations(const struct input *seeds, size_t n, uint64_t seed, uint64_t deadline_ms)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    uint64_t k = 0;
    for (; (k & 63) != 0 || now_ms() < deadline_ms; k++) {
        uint64_t state = seed ^ (k * UINT64_C(0xD1342543DE82EF95));
        const struct input *from = &seeds[below(&state, n)];
        size_t size = from->size;
        memcpy(bytes, from->bytes, size);
        for (size_t changes = 1 + below(&state, 6); changes > 0; changes--) {
            size = mutate_once(bytes, size, &seeds[below(&state, n)], &state);
        }
        run(bytes, size);
    }
    return k;
}

int main(int argc, char **argv)
{
    static struct input seeds[SEEDS_MAX];
    size_t n = 0;
    bool mutate = false;
    if (LLVMFuzzerInitialize != NULL) {
        LLVMFuzzerInitialize(&argc, &argv);
    }
    const char *name = strrchr(argv[0], '/') == NULL ? argv[0] : strrchr(argv[0], '/') + 1;
    snprintf(crash_path, sizeof crash_path, "%s.crash", name);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(save_running);
    }
    signal(SIGABRT, die);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) != 0) {
            fprintf(stderr, "%s: %s does not exist\n", name, argv[i]);
            return 1;
        }
        if (S_ISDIR(info.st_mode)) {
            mutate = true;
            n = read_directory(argv[i], seeds, n);
        } else if (n < SEEDS_MAX && read_input(argv[i], &seeds[n])) {
            n++;
        }
    }
    if (n == 0) {
        fprintf(stderr, "%s: no seed inputs: a fuzzer needs at least one valid input\n", name);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        run(seeds[i].bytes, seeds[i].size);
    }
    if (mutate) {
        uint64_t seed = environment_number("ASSENT_FUZZ_SEED", 1);
        uint64_t seconds = environment_number("ASSENT_FUZZ_SECONDS", 2);
        printf("%s: %zu seeds, ASSENT_FUZZ_SEED=%" PRIu64 "\n", name, n, seed);
        fflush(stdout);
        printf("%s: %" PRIu64 " mutations\n", name, run_mutations(seeds, n, seed, now_ms() + seconds * 1000));
    }
    for (size_t i = 0; i < n; i++) {
        free(seeds[i].bytes);
    }
    return 0;
}
