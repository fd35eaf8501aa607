/* Images of the state machine.  Size and digest of the body are put right first, else nothing would get past
 * them: what remains is an image made by somebody who can compute a digest. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sm_harness.h"
#include "store.h"

#define HEADER_SIZE 64
#define BODY_FIELDS 48 /* u64 size, u64 digest */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[256], path[300];
static struct store *store;

static void leave(void)
{
    store_close(store, false);
    temp_dir_remove(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    bool clean;
    char err[256];
    (void)argc, (void)argv;
    temp_dir_make(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/state", dir);
    if (store_open(&store, path, UINT64_C(1) << 28, &clean, err, sizeof err) != ASSENT_OK)
        abort();
    snprintf(path, sizeof path, "%s/image", dir);
    atexit(leave);
    return 0;
}

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char err[256];
    uint8_t *own = malloc(size + 1);
    memcpy(own, data, size);
    if (size >= HEADER_SIZE) {
        put_be64(own + BODY_FIELDS, size - HEADER_SIZE);
        put_be64(own + BODY_FIELDS + 8, XXH3_64bits(own + HEADER_SIZE, size - HEADER_SIZE));
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, own, size) != (ssize_t)size)
        abort();
    close(fd);
    free(own);
    int code = store_restore(store, path, err, sizeof err);
    struct store_txn *read = store_begin_read(store);
    /* Refused behind the checks: nothing of it is left. */
    for (int t = 0; code != ASSENT_OK && t < STORE_TABLE_NR; t++) {
        if (store_count(read, (enum store_table)t) != 0)
            abort();
    }
    store_end_read(read);
    if (code == ASSENT_OK)
        store_wipe(store);
    return 0;
}
